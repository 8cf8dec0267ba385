"""Limits: what of a volume a network is shown, and how much it may add to an interpolation.

A network extrapolates without warning. Shown a fall-off steeper than any that it was trained on, or
a voxel a thousand times brighter than tissue, it added up to 28,000 times the intensity range. The
limits lie where training volumes and their degradations end, so that within them nothing changes.
"""

from collections.abc import Callable
from types import MappingProxyType

import torch
import torch.nn.functional as F  # noqa: N812 (the usual name)

from tdafd_cli.sampling.factors import Factors, factors_of
from tdafd_cli.sampling.spectrum import BANDS

UNLIMITED = 10.0  # decades: beyond any spectral fall-off

INTENSITY_LIMITS = (-0.25, 2.0)
"""Normalised intensities that the trunk sees; what lies beyond is left to the interpolation."""

OVERSHOOT = 0.5
"""How far a high voxel may lie beyond the scan's voxels around it, as part of their range.

On two validation heads under the three benchmark degradations the limit changed PSNR by 0.002 dB or
less at x2, x3 and x4, but for small bright vessels blurred at x2: 0.025 dB. A quarter cost up to
0.13 dB there, a neighbourhood of 3 voxels up to 0.07.
"""
NEIGHBOURHOOD = 5  # low voxels along each axis

FALLOFF_LIMITS = MappingProxyType(
    {
        2: (
            (-0.41, -0.64, -0.73, -0.86, -1.02, -1.14, -1.30, -1.53),
            (0.24, 0.34, 0.47, 0.58, 0.69, 0.76, 0.83, 0.85),
        ),
        3: (
            (-0.26, -0.34, -0.33, -0.38, -0.51, -0.68, -0.83, -1.07),
            (0.25, 0.39, 0.56, 0.66, 0.82, 0.96, 1.08, 1.09),
        ),
        4: (
            (-0.33, -0.43, -0.42, -0.47, -0.52, -0.66, -0.74, -0.92),
            (0.22, 0.38, 0.54, 0.68, 0.82, 0.89, 0.99, 1.08),
        ),
    }
)
"""Least and greatest spectral fall-off in each band, by scale, for weights files without them.

Of 120 pairs drawn by the recipes of tdafd-x2 version 4, tdafd-x3 version 6 and tdafd-x4 version 7,
three axes each: sharp volumes under degradations of all kinds.
"""


def default_falloff_limits(scale: int) -> torch.Tensor:
    """Limits (2, bands) for weights that were saved without any."""
    return torch.tensor(FALLOFF_LIMITS[scale])


def unlimited(axes: int) -> torch.Tensor:
    """Limits of the fall-off that bind nothing, for a network for 3 axes or for one.

    Axes that are made finer alike have limits in common: (2, bands). For the slices alone they are
    (2, 3, bands), as the other axes, which stay as they are, fall off in other ways.
    """
    shape = (len(BANDS),) if axes == 3 else (3, len(BANDS))
    return torch.stack([torch.full(shape, -UNLIMITED), torch.full(shape, UNLIMITED)])


def widen(limits: torch.Tensor, seen: torch.Tensor) -> None:
    """Widen limits (2, ..., bands) to fall-offs (n, bands), in place."""
    lowest, highest = limits
    lowest.copy_(torch.minimum(lowest, seen.amin(dim=0)))
    highest.copy_(torch.maximum(highest, seen.amax(dim=0)))


def neighbourhood_range(low: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Least and greatest intensity around each voxel of (B, 1, I, J, K), each of that shape."""
    around = (NEIGHBOURHOOD // 2,) * 6
    lowest = highest = F.pad(low, around, mode="replicate")
    for axis in (2, 3, 4):  # cubes are separable
        lowest = _running(torch.minimum, lowest, axis)
        highest = _running(torch.maximum, highest, axis)
    return lowest, highest


def _running(
    extreme: Callable[[torch.Tensor, torch.Tensor], torch.Tensor], volume: torch.Tensor, axis: int
) -> torch.Tensor:
    """Extreme of `NEIGHBOURHOOD` voxels along an axis: twenty times as fast as max_pool3d."""
    length = volume.shape[axis]
    two = extreme(volume.narrow(axis, 0, length - 1), volume.narrow(axis, 1, length - 1))
    four = extreme(two.narrow(axis, 0, length - 3), two.narrow(axis, 2, length - 3))
    return extreme(four.narrow(axis, 0, length - 4), volume.narrow(axis, 4, length - 4))


def bounded(high: torch.Tensor, low: torch.Tensor, scale: int | Factors) -> torch.Tensor:
    """An estimate kept near the intensities that the scan has around each of its voxels.

    Parameters
    ----------
    high : (B, 1, sI, sJ, sK) float32 tensor
        Contiguous; changed in place.
    low : (B, 1, I, J, K) tensor
    scale : int or (i, j, k)
        High voxels per low voxel.
    """
    lowest, highest = neighbourhood_range(low.float())
    margin = OVERSHOOT * (highest - lowest)
    batch, _, i, j, k = low.shape
    voxels = (batch, i, 1, j, 1, k, 1)
    p, q, r = factors_of(scale)
    split = high.view(batch, i, p, j, q, k, r)
    split.clamp_((lowest - margin).view(voxels), (highest + margin).view(voxels))
    return high
