"""Foreground: the voxels that show the object, not the air around it."""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

FOREGROUND_LEVEL = 0.05  # of the 99.9th percentile: above the noise of air, below dark tissue
CLOSING_VOXELS = 2  # joins tissue across sulci before holes (CSF, ventricles) are filled


def foreground_mask(reference: NDArray[np.floating]) -> NDArray[np.bool_]:
    """Voxels of the object: above 5 % of the 99.9th percentile, closed, holes filled.

    Parameters
    ----------
    reference : (I, J, K) array
        High-resolution volume with its background near zero.
    """
    lowest = reference.min()
    level = lowest + FOREGROUND_LEVEL * (np.percentile(reference, 99.9) - lowest)
    tissue = np.pad(reference > level, CLOSING_VOXELS)
    tissue = ndimage.binary_closing(tissue, iterations=CLOSING_VOXELS)
    filled: NDArray[np.bool_] = ndimage.binary_fill_holes(tissue)
    inner = (slice(CLOSING_VOXELS, -CLOSING_VOXELS),) * 3
    return filled[inner]


def foreground_box(
    mask: NDArray[np.bool_], margin: float
) -> tuple[tuple[slice, ...], tuple[int, ...]]:
    """Box around the foreground, and the foreground's middle voxel.

    Parameters
    ----------
    mask : (I, J, K) bool array
        At least one voxel is set.
    margin : float
        Part of the foreground's extent that is kept around it, as far as the volume goes.
    """
    inside = np.argwhere(mask)
    lowest, highest = inside.min(axis=0), inside.max(axis=0) + 1
    around = np.ceil(margin * (highest - lowest)).astype(int)
    starts = np.maximum(lowest - around, 0).tolist()
    stops = np.minimum(highest + around, mask.shape).tolist()
    return tuple(map(slice, starts, stops)), tuple(inside.mean(axis=0).astype(int).tolist())
