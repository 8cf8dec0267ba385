"""Intensity scales: the scanner's arbitrary units, the network's, and the integers of a file."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

PERCENTILES = (0.1, 99.9)
"""Ends of the range, of all voxels: robust to spikes, yet beyond nearly all anatomy."""


@dataclass(frozen=True)
class IntensityRange:
    """Intensities that stand for 0 and 1 in the network's units."""

    low: float
    high: float

    @property
    def width(self) -> float:
        """Intensity per network unit: ``high - low``, or 1 where these coincide."""
        return self.high - self.low or 1.0

    @property
    def zero(self) -> float:
        """What `normalise` makes of an intensity of zero."""
        return -self.low / self.width


def intensity_range(data: np.ndarray) -> IntensityRange:
    """Range of the intensities in ``data``, without its rare extremes.

    Parameters
    ----------
    data : array
        Finite intensities, at least one.

    Returns
    -------
    IntensityRange
        The 0.1 and 99.9 percentiles; the minimum and the maximum where these coincide, as they
        do when a small object stands in an empty field. Constant data gives ``low == high``.
    """
    low, high = np.percentile(data, PERCENTILES)
    if low == high:
        low, high = data.min(), data.max()
    return IntensityRange(float(low), float(high))


def normalise(data: np.ndarray, limits: IntensityRange) -> npt.NDArray[np.float32]:
    """Bring intensities to network units, in float32: ``low`` becomes 0 and ``high`` becomes 1.

    Values outside the range are not clipped, so that `denormalise` brings all of them back.
    """
    return np.asarray((data - limits.low) / limits.width, dtype=np.float32)


def denormalise(data: np.ndarray, limits: IntensityRange) -> np.ndarray:
    """Undo `normalise`, in the precision of ``data``."""
    return np.asarray(data * limits.width + limits.low)


def integer_limits(dtype: npt.DTypeLike) -> tuple[float, float]:
    """Least and greatest number of an integer type that float64 holds exactly.

    >>> integer_limits("int16")
    (-32768.0, 32767.0)
    """
    limits = np.iinfo(dtype)
    highest = float(limits.max)
    if int(highest) > limits.max:
        highest = float(np.nextafter(highest, 0))
    return float(limits.min), highest


def to_dtype(data: np.ndarray, dtype: npt.DTypeLike) -> np.ndarray:
    """Convert to ``dtype``: integers are rounded and clipped, so that none wraps round.

    >>> to_dtype(np.array([-3.0, 1.6, 300.0]), np.uint8)
    array([  0,   2, 255], dtype=uint8)
    """
    dtype = np.dtype(dtype)
    if dtype.kind not in "iu":
        return np.asarray(data, dtype=dtype)
    rounded = np.rint(data, dtype=np.float64)  # float32 has no 2147483647
    return np.asarray(np.clip(rounded, *integer_limits(dtype)), dtype=dtype)


def spanning_scaling(low: float, high: float, dtype: npt.DTypeLike) -> tuple[float, float]:
    """Slope and intercept that spread an integer type over the intensities ``low`` to ``high``.

    An intensity is ``slope * integer + intercept``. Both are exact in float32, as NIfTI-1 holds
    them.
    """
    lowest, highest = integer_limits(dtype)
    # Room for slope and intercept to be rounded to float32 with the ends still inside.
    margin = float(np.spacing(np.float32(max(abs(low), abs(high)))))
    steps = (highest - lowest) * (1 - float(np.finfo(np.float32).eps))
    slope = np.float32((high - low + 2 * margin) / steps) or np.float32(1)
    return float(slope), float(np.float32(low - margin - lowest * float(slope)))
