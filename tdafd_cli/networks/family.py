"""A family of networks: one trunk, trained at several scales at once, with a tail for each.

What a trunk learns of edges and textures serves every scale (as in MDSR, Lim et al., 2017), so a
step at one scale trains them all. Each member is a whole `TDAFD`, and is kept and used as one.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from torch import nn

from tdafd_cli.networks.tdafd import TDAFD, TDAFDConfig

SHARED = ("head", "modules_", "rvts", "condition", "fuse")
"""Parts of `TDAFD` that members share; each has its own tail and limits."""


class Family(nn.Module):
    """Networks of one configuration for several scales, all but their tails and limits shared."""

    def __init__(self, config: TDAFDConfig, scales: Sequence[int]) -> None:
        super().__init__()
        members = [TDAFD(replace(config, scale=scale)) for scale in scales]
        for member in members[1:]:
            for name in SHARED:
                setattr(member, name, getattr(members[0], name))
        self.members = nn.ModuleDict({str(member.config.scale): member for member in members})

    def of_scale(self, scale: int) -> TDAFD:
        """The member for a scale; ``KeyError`` if there is none."""
        member = self.members[str(scale)]
        assert isinstance(member, TDAFD)
        return member

    def __iter__(self) -> Iterator[TDAFD]:
        return (self.of_scale(int(scale)) for scale in self.members)
