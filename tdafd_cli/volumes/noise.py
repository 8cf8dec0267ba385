"""Noise level of a volume, estimated from differences that cancel smooth anatomy."""

import numpy as np

from tdafd_cli.volumes.foreground import FOREGROUND_LEVEL

NORMAL_QUARTILE = 0.6745  # median absolute deviation of a standard normal variable


def noise_level(normalised: np.ndarray) -> float:
    """Standard deviation of white noise in the object, as part of the intensity range.

    Differences along all three axes at once leave noise and little else; their median is robust to
    the edges that remain (Donoho and Johnstone, 1994). Partial volume counts as some noise: sharp
    volumes of hardly any read 0.006 to 0.03. An axis of one voxel gives 0.

    Parameters
    ----------
    normalised : (I, J, K) array
        Its tissue at about 0 to 1.
    """
    differences, inside = normalised, normalised > FOREGROUND_LEVEL
    for axis in range(3):
        differences = np.diff(differences, axis=axis)
        inside = _both(inside, axis)
    if not inside.any():
        return 0.0
    # A difference adds up the noise of eight voxels.
    return float(np.median(np.abs(differences[inside])) / np.sqrt(8) / NORMAL_QUARTILE)


def _both(inside: np.ndarray, axis: int) -> np.ndarray:
    """Where two neighbours along an axis both are inside."""
    voxels = np.moveaxis(inside, axis, 0)
    return np.moveaxis(voxels[1:] & voxels[:-1], 0, axis)
