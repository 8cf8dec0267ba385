"""Optimisation: how a network's parameters move, and how fast.

Muon is momentum whose step for every weight matrix is orthogonalised (Jordan et al., 2024).
torch.optim.Muon takes two-dimensional parameters only; here a convolution's kernel is the matrix
from its (input channel, tap) pairs to its output channels.
"""

import math
from collections.abc import Iterable

import torch
from torch import nn

from tdafd_cli.networks.family import Family

NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)  # Jordan's quintic: singular values to about 0.7-1.2
NEWTON_SCHULZ_STEPS = 5


def orthogonalised(matrix: torch.Tensor) -> torch.Tensor:
    """Nearest semi-orthogonal matrix (m, n), roughly, by a Newton-Schulz iteration."""
    a, b, c = NEWTON_SCHULZ
    x: torch.Tensor
    tall = matrix.shape[0] > matrix.shape[1]
    x = matrix.mT if tall else matrix
    x = x / (x.norm() + 1e-7)
    for _ in range(NEWTON_SCHULZ_STEPS):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.mT if tall else x


class Muon(torch.optim.Optimizer):
    """Nesterov momentum with orthogonalised steps, for parameters of two or more dimensions.

    Parameters
    ----------
    params : iterable of Parameter
        Each is seen as (first dimension, all others).
    lr : float
        Root-mean-square change of a weight per step is about ``0.2 * lr``, as AdamW's is, so that
        both share one learning rate (Liu et al., 2025).
    momentum : float
    weight_decay : float
        Decoupled, times the learning rate.
    """

    def __init__(
        self,
        params: Iterable[torch.Tensor],
        lr: float = 1e-3,
        momentum: float = 0.95,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Update every parameter that has a gradient."""
        assert closure is None
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._update(parameter, group)

    def _update(self, parameter: torch.Tensor, group: dict[str, float]) -> None:
        assert parameter.grad is not None
        state = self.state[parameter]
        if not state:
            state["momentum"] = torch.zeros_like(parameter)
        momentum = state["momentum"].lerp_(parameter.grad, 1 - group["momentum"])
        ahead = parameter.grad.lerp(momentum, group["momentum"])
        matrix = ahead.reshape(len(ahead), -1)
        update = orthogonalised(matrix) * (0.2 * max(matrix.shape) ** 0.5)
        parameter.mul_(1 - group["lr"] * group["weight_decay"])
        parameter.sub_(update.reshape(parameter.shape), alpha=group["lr"])


def make_optimisers(
    networks: Family, name: str, *, rate: float, decay: float
) -> list[torch.optim.Optimizer]:
    """AdamW for everything (``adamw``), or Muon for hidden layers' kernels and AdamW for the rest.

    Head and tail map from and to images, not between features, and the condition's layers between
    few numbers: AdamW has them in either case.
    """
    if name == "adamw":
        return [adamw(networks.parameters(), rate, decay)]
    mixing = (nn.Conv3d, nn.ConvTranspose3d, nn.Linear)
    apart = {
        part for network in networks for part in (network.head, network.tail, *network.condition)
    }
    kernels = [
        module.weight
        for module in networks.modules()
        if isinstance(module, mixing) and getattr(module, "groups", 1) == 1 and module not in apart
    ]
    taken = {id(kernel) for kernel in kernels}
    others = [parameter for parameter in networks.parameters() if id(parameter) not in taken]
    return [Muon(kernels, lr=rate, weight_decay=decay), adamw(others, rate, decay)]


def adamw(parameters: Iterable[nn.Parameter], rate: float, decay: float) -> torch.optim.Optimizer:
    """AdamW whose second moment forgets faster than usual, for small batches."""
    return torch.optim.AdamW(parameters, lr=rate, betas=(0.9, 0.99), weight_decay=decay)


def learning_rate(
    step: int,
    *,
    peak: float,
    steps: int,
    warmup_steps: int,
    final_fraction: float,
    cooldown: float | None = None,
) -> float:
    """Linear warm-up over the first steps, times a decay from the peak to a fraction of it.

    The decay is a cosine over all steps; with ``cooldown`` it is a straight line over that share of
    them, the last, so that a run whose length is still open can be ended at any time.
    """
    warm = min(1.0, (step + 1) / max(warmup_steps, 1))
    done = min(1.0, step / max(steps, 1))
    if cooldown is None:
        left = (1 + math.cos(math.pi * done)) / 2
    else:
        left = min(1.0, (1 - done) / cooldown)
    return peak * warm * (final_fraction + (1 - final_fraction) * left)
