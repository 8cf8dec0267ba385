"""A family of networks: one trunk, trained at several factors at once, with a tail for each.

What a trunk learns of edges and textures serves every scale (as in MDSR, Lim et al., 2017), so a
step at one scale trains them all. Each member is a whole `TDAFD`, and is kept and used as one.
"""

from collections.abc import Iterator, Sequence

from torch import nn

from tdafd_cli.networks.tdafd import TDAFD, TDAFDConfig
from tdafd_cli.sampling.factors import Factors, factors_of, factors_text

SHARED = ("head", "modules_", "rvts", "condition", "fuse")
"""Parts of `TDAFD` that members share; each has its own tail and limits."""


class Family(nn.Module):
    """Networks that differ in scale and axes alone, all but their tails and limits shared.

    Members are named by their factors, as in ``members.2`` and ``members.1x1x4``.
    """

    def __init__(self, configs: Sequence[TDAFDConfig]) -> None:
        super().__init__()
        members = [TDAFD(config) for config in configs]
        for member in members[1:]:
            for name in SHARED:
                setattr(member, name, getattr(members[0], name))
        self.members = nn.ModuleDict(
            {factors_text(member.config.factors): member for member in members}
        )

    def of_scale(self, scale: int | Factors) -> TDAFD:
        """The member for a scale, or for factors along I, J and K; ``KeyError`` if none is."""
        return self._named(factors_text(factors_of(scale)))

    def __iter__(self) -> Iterator[TDAFD]:
        return map(self._named, self.members)

    def _named(self, name: str) -> TDAFD:
        member = self.members[name]
        assert isinstance(member, TDAFD)
        return member
