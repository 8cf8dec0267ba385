"""Size and cost of a network: parameters, multiply-accumulates and FLOPs for one patch."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode


@dataclass(frozen=True)
class Complexity:
    """What a network costs on one patch.

    Attributes
    ----------
    parameters : int
    macs : int
        Multiply-accumulates of all convolutions and matrix products; what is not a product of a
        weight, such as activations, norms and sums, is not counted, as in the literature.
    """

    parameters: int
    macs: int

    @property
    def flops(self) -> int:
        """Floating-point operations: two for each multiply-accumulate."""
        return 2 * self.macs


def complexity(build: Callable[[], nn.Module], low_shape: Sequence[int]) -> Complexity:
    """Count a network's parameters and operations without computing or storing anything.

    Parameters
    ----------
    build : callable
        Makes the network; called on PyTorch's meta device, where tensors have shapes but no memory.
    low_shape : (I, J, K)
        Low voxels of the patch.
    """
    with torch.device("meta"):
        network = build().eval()
        low = torch.empty(1, 1, *low_shape)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(low)
    return Complexity(
        parameters=sum(parameter.numel() for parameter in network.parameters()),
        macs=counter.get_total_flops() // 2,
    )


def low_edge(patch: int, scale: int, grid: int) -> int:
    """Edge in low voxels of the patch nearest to ``patch`` high voxels that needs no padding."""
    return max(1, round(patch / scale / grid)) * grid
