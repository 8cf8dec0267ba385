"""Background of one value around what a scan shows, which no network needs to look at.

Around voxels of one value an estimate is bounded to that value (`networks.limits`), so that what
comes out there is known before.
"""

import math

import torch
from torch import Tensor

from tdafd_cli.sampling.factors import factors_between

TOLERANCE = 2e-5
"""Deviation, as part of the intensity range, that counts as the same value. An estimate around such
voxels may lie off by twice as much."""

MARGIN = 32
"""Low voxels of background that are kept: beyond them a border changes nothing by more than 3e-5 of
the range (six heads and brains, all three axes, shipped weights of each scale)."""

Box = tuple[slice, slice, slice]


def occupied_box(low: Tensor, grid: int) -> Box:
    """Part of a volume beyond which all is of the value of its first corner.

    Parameters
    ----------
    low : (I, J, K) float tensor
    grid : int
        The part starts at multiples of it, so that a network's windows stay where they are, and
        ends at one or with the volume.
    """
    differs = (low - low[0, 0, 0]).abs_() > TOLERANCE
    planes = differs.any(dim=2), differs.any(dim=0)
    i, j, k = (
        _extent(occupied, grid)
        for occupied in (planes[0].any(dim=1), planes[0].any(dim=0), planes[1].any(dim=0))
    )
    return i, j, k


def surrounded(high: Tensor, box: Box, low: Tensor) -> Tensor:
    """Upscaled part (sI', sJ', sK') of a volume amid its background: -> (sI, sJ, sK).

    Made finer along one axis alone, the part has as many voxels along the others.
    """
    if low[box].shape == low.shape:
        return high
    factors = factors_between(low[box].shape, high.shape)
    sizes = [factor * n for factor, n in zip(factors, low.shape, strict=True)]
    whole = torch.full(sizes, float(low[0, 0, 0]))
    parts = zip(factors, box, strict=True)
    whole[tuple(slice(factor * part.start, factor * part.stop) for factor, part in parts)] = high
    return whole


def _extent(occupied: Tensor, grid: int) -> slice:
    """Indices along an axis from the first occupied to the last, with a margin, on the grid."""
    (indices,) = occupied.nonzero(as_tuple=True)
    first, last = (int(indices[0]), int(indices[-1])) if len(indices) else (0, 0)
    start = max(0, first - MARGIN) // grid * grid
    stop = math.ceil((last + 1 + MARGIN) / grid) * grid
    return slice(start, min(len(occupied), stop))
