"""Defects of a scan: stray voxels, signal voids and dropped slices, found and repaired.

One voxel a thousand times brighter than tissue spoils what every linear interpolation makes of its
neighbours, and the network's view of the whole volume. So defects are taken out first, and what
they held is put back, interpolated over its own place alone.
"""

import warnings
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from tdafd_cli.sampling.matrices import trilinear_matrix
from tdafd_cli.volumes.intensity import intensity_range

FAR_BEYOND = 2.0
"""Intensity ranges beyond the range from which an isolated voxel is a stray one. Bright vessels in
heads reach 2.5 ranges beyond, but not in isolation."""
NEIGHBOUR_SHARE = 1 / 3
"""Of a stray voxel's distance from the range, what its neighbours have at most: a point seen by any
scanner spreads further than that."""
LARGEST_SPOT = 8  # connected voxels that still count as a defect, not as an object
MOST_VOXELS = 1e-3
"""Share of voxels above which what lies far beyond the range is no longer rare: heavy tails."""
VOID_SURROUNDINGS = 0.25  # normalised intensity that all neighbours of a signal void exceed

DROPPED_SPREAD = 0.15
"""Standard deviation of a dropped slice over that of the nearest good ones: noise alone."""
LONGEST_GAP = 3  # slices in a row
FEWEST_SLICES = 8

LEAST_SPREAD = 0.25  # of the slices around a gap, relative to the slice that varies most

Places = npt.NDArray[np.intp]
"""Indices (n, 3) of voxels along I, J and K."""
NOWHERE: Places = np.empty((0, 3), np.intp)
NEIGHBOURS = np.array([place for place in np.ndindex(3, 3, 3) if place != (1, 1, 1)]) - 1


@dataclass(frozen=True)
class Defects:
    """Where a volume does not show what was scanned.

    Attributes
    ----------
    voxels : (n, 3) int array
        Indices (I, J, K) of stray voxels and signal voids.
    slices : tuple of (axis, index)
        Slices without an image, between slices that have one.
    """

    voxels: Places = field(default_factory=NOWHERE.copy)
    slices: tuple[tuple[int, int], ...] = ()

    def __bool__(self) -> bool:
        return bool(len(self.voxels) or self.slices)


def find_defects(data: np.ndarray) -> Defects:
    """Defects of a volume (I, J, K) of finite intensities."""
    strays = _stray_voxels(data)  # first: a single one makes its slice look as if it varied
    rest = mended(data, Defects(strays))
    slices = tuple((axis, index) for axis in range(3) for index in _dropped_slices(rest, axis))
    voids = _voids(mended(rest, Defects(slices=slices)))
    return Defects(np.concatenate([strays, voids]), slices)


def mended(data: np.ndarray, defects: Defects) -> np.ndarray:
    """The volume with slices interpolated and voxels replaced by their good neighbours' median."""
    if not defects:
        return data
    data = data.copy()
    for axis in {axis for axis, _ in defects.slices}:
        _fill_slices(data, axis, [index for other, index in defects.slices if other == axis])
    if not len(defects.voxels):
        return data
    bad = np.zeros(data.shape, bool)
    bad[tuple(defects.voxels.T)] = True
    around = _neighbours(data, defects.voxels).astype(np.float64)
    around[_neighbours(bad, defects.voxels)] = np.nan
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of voxels that have only bad neighbours
        medians = np.nanmedian(around, axis=1)
    data[bad] = np.median(data)  # for voxels without a good neighbour
    known = np.isfinite(medians)
    data[tuple(defects.voxels[known].T)] = medians[known]
    return data


def _dropped_slices(data: np.ndarray, axis: int) -> list[int]:
    """Slices that hardly vary between slices that do."""
    if data.shape[axis] < FEWEST_SLICES:
        return []
    others = tuple(other for other in range(3) if other != axis)
    spread = data.std(axis=others, dtype=np.float64)
    dropped: list[int] = []
    for length in range(1, LONGEST_GAP + 1):
        for first in range(1, len(spread) - length):
            inside, around = spread[first : first + length], spread[[first - 1, first + length]]
            alive = around.min() > LEAST_SPREAD * spread.max()
            if alive and inside.max() < DROPPED_SPREAD * around.min():
                dropped += range(first, first + length)
    return sorted(set(dropped))


def _fill_slices(data: np.ndarray, axis: int, dropped: list[int]) -> None:
    """Interpolate slices linearly between the nearest good ones, in place."""
    slices = np.moveaxis(data, axis, 0)
    good = np.setdiff1d(np.arange(len(slices)), dropped)
    for index in dropped:
        before, after = good[good < index][-1], good[good > index][0]
        share = (index - before) / (after - before)
        slices[index] = (1 - share) * slices[before] + share * slices[after]


def _stray_voxels(data: np.ndarray) -> Places:
    """Spots far beyond the range of intensities, with nothing around that comes near to them."""
    limits = intensity_range(data)
    lowest = limits.low - FAR_BEYOND * limits.width
    highest = limits.high + FAR_BEYOND * limits.width
    far = (data < lowest) | (data > highest)
    count = np.count_nonzero(far)
    if not 0 < count <= max(LARGEST_SPOT, MOST_VOXELS * data.size):
        return NOWHERE
    spots = _small_spots(far)
    middle = limits.low + limits.width / 2
    height = np.abs(data[tuple(spots.voxels.T)] - middle)
    around = np.abs(_neighbours(data, spots.voxels) - middle)
    around[_neighbours(far, spots.voxels)] = 0  # parts of the spot itself
    near = around.max(axis=1, initial=0) >= NEIGHBOUR_SHARE * height
    return spots.without(near)


def _voids(data: np.ndarray) -> Places:
    """Spots of the least intensity in the midst of tissue."""
    limits = intensity_range(data)
    least = data == data.min()
    spots = _small_spots(least)
    around = _neighbours(data, spots.voxels)
    around[_neighbours(least, spots.voxels)] = np.inf
    level = limits.low + VOID_SURROUNDINGS * limits.width
    return spots.without(around.min(axis=1, initial=np.inf) <= level)


@dataclass(frozen=True)
class _Spots:
    """Voxels of the small connected parts of a mask, and the number of the part of each."""

    voxels: Places
    numbers: npt.NDArray[np.intp]

    def without(self, refused: npt.NDArray[np.bool_]) -> Places:
        """Voxels of the spots none of whose voxels are refused."""
        kept: Places = self.voxels[~np.isin(self.numbers, self.numbers[refused])]
        return kept


def _small_spots(mask: npt.NDArray[np.bool_]) -> _Spots:
    parts, _ = ndimage.label(mask, np.ones((3, 3, 3)))
    small = np.bincount(parts.ravel()) <= LARGEST_SPOT
    small[0] = False  # what is not in the mask
    voxels = np.argwhere(small[parts])
    return _Spots(voxels, parts[tuple(voxels.T)])


def _neighbours(values: np.ndarray, voxels: Places) -> np.ndarray:
    """Values of the 26 voxels around each; at the border some count twice."""
    places = np.clip(voxels[:, None] + NEIGHBOURS, 0, np.array(values.shape) - 1)
    around: np.ndarray = values[tuple(np.moveaxis(places, -1, 0))]
    return around


def restore_defects_(
    high: np.ndarray, data: np.ndarray, good: np.ndarray, defects: Defects
) -> None:
    """Put what the defects held into a finer volume, trilinear and over their own places alone.

    Parameters
    ----------
    high : (sI, sJ, sK) array
        What was made of ``good``; changed in place.
    data, good : (I, J, K) arrays
        The scan as it was, and as `mended` returned it.
    defects : Defects
    """
    i, j, k = (
        trilinear_matrix(n, m).astype(high.dtype)
        for n, m in zip(data.shape, high.shape, strict=True)
    )
    change = data - good
    for place in map(tuple, defects.voxels.tolist()):
        _add_outer(high, [i[:, place[0]], j[:, place[1]], k[:, place[2]]], change[place])
        change[place] = 0
    for axis in sorted({axis for axis, _ in defects.slices}):
        along = (i, j, k)[axis]
        rows, columns = (matrix for other, matrix in enumerate((i, j, k)) if other != axis)
        planes, slices = np.moveaxis(high, axis, 0), np.moveaxis(change, axis, 0)
        for index in (index for other, index in defects.slices if other == axis):
            plane = rows @ slices[index] @ columns.T
            for row in np.flatnonzero(along[:, index]):
                planes[row] += along[row, index] * plane
            slices[index] = 0  # so that a slice along another axis does not count it again


def _add_outer(high: np.ndarray, weights: list[np.ndarray], value: float) -> None:
    """Add a value times the outer product of three sparse weights, in place."""
    parts = [np.flatnonzero(weight) for weight in weights]
    i, j, k = (weight[part] for weight, part in zip(weights, parts, strict=True))
    high[np.ix_(*parts)] += value * (i[:, None, None] * j[:, None] * k)
