"""Self-ensemble: the mean of what a network makes of a volume and of its mirror images.

A network errs differently on a mirrored volume, so part of its error averages out (Timofte et al.,
CVPR 2016; Lim et al., CVPR Workshops 2017). Each mirror image costs a pass.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from tdafd_cli.sampling.factors import Factors

if TYPE_CHECKING:  # so that settings know the passes without importing torch
    from torch import Tensor

MIRRORS = ((), (2, 3, 4), (2,), (3, 4), (3,), (2, 4), (4,), (2, 3))
"""Axes of (B, 1, I, J, K) along which pass after pass is mirrored."""
PASSES = (1, 2, 4, 8)  # from 2 on, every axis is mirrored in half of the passes

SLICE_PASSES = 2
"""For one axis, whose low voxels outnumber those of all three by far."""

DEFAULT_PASSES = {2: 2, 3: 8, 4: 8}
"""By scale: as many as keep the cost of TDAFD below that of EDDSR, the lightest strong peer (52
GFLOPs per 64^3 output voxels), where a pass takes 19.4, 6.1 and 2.8."""


def passes(asked: int | str, factors: Factors) -> int:
    """Number of passes: as asked, or the default of the factors for "auto"."""
    if isinstance(asked, int):
        return asked
    return DEFAULT_PASSES[factors[0]] if min(factors) > 1 else SLICE_PASSES


def self_ensemble(network: Callable[[Tensor], Tensor], low: Tensor, count: int) -> Tensor:
    """Upscale tiles (B, 1, I, J, K) in so many passes: -> (B, 1, sI, sJ, sK)."""
    total = network(low)
    for axes in MIRRORS[1:count]:
        total = total + network(low.flip(axes)).flip(axes)
    return total / count
