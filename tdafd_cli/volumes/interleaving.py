"""Interleaving: odd and even slices of other brightness, as 2D scans in two passes may have.

Slices that are excited one right after the other disturb each other, so scanners take the odd ones
first and the even ones later. Where the gain, the steady state or the patient changed in between,
every other slice is brighter, which no interpolation along the slices should take for anatomy.
"""

from dataclasses import dataclass

import numpy as np

from tdafd_cli.volumes.intensity import intensity_range

FEWEST_SLICES = 8
FEWEST_VOXELS = 50  # of tissue in three slices, from which their brightness can be compared
TISSUE = 0.2  # of the intensity range

LEAST = 0.03
"""Relative difference of odd and even slices from which it is told."""
ALTERNATING = 0.85
"""Share of the slices that must differ from their neighbours in the same sense."""


@dataclass(frozen=True)
class Interleaving:
    """How odd slices differ from even ones.

    Attributes
    ----------
    difference : float
        Brightness of odd over that of even slices, counted from 0, less one.
    share : float
        Of the slices, how many differ from their neighbours in this sense.
    """

    difference: float = 0.0
    share: float = 0.0

    def __bool__(self) -> bool:
        return abs(self.difference) >= LEAST and self.share >= ALTERNATING


def interleaving(data: np.ndarray, axis: int) -> Interleaving:
    """How odd and even slices of a volume (I, J, K) along an axis differ in brightness.

    Each slice is compared with the mean of its two neighbours, where all three show tissue; the
    median over the slice leaves edges out.
    """
    slices = np.moveaxis(data, axis, 0)
    if len(slices) < FEWEST_SLICES:
        return Interleaving()
    limits = intensity_range(data)
    level = limits.low + TISSUE * limits.width
    found = [
        (index, ratio)
        for index in range(1, len(slices) - 1)
        if (ratio := _over_neighbours(slices[index - 1 : index + 2], level, limits.low)) is not None
    ]
    if len(found) < FEWEST_SLICES - 2:
        return Interleaving()
    signed = np.array([ratio if index % 2 else -ratio for index, ratio in found])
    difference = float(np.median(signed))
    share = float(np.mean(np.sign(signed) == np.sign(difference)))
    return Interleaving(difference, share)


def _over_neighbours(three: np.ndarray, level: float, zero: float) -> float | None:
    """Brightness of a slice over that of its neighbours, less one; None without tissue."""
    tissue = (three > level).all(axis=0)
    if np.count_nonzero(tissue) < FEWEST_VOXELS:
        return None
    before, own, after = (np.asarray(plane[tissue], np.float64) - zero for plane in three)
    return float(np.median(2 * own / (before + after))) - 1
