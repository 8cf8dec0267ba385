"""Stored numbers of a volume: checked, turned into intensities, and back."""

from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Protocol

import numpy as np

from tdafd_cli.errors import VolumeError
from tdafd_cli.volumes.intensity import integer_limits, spanning_scaling, to_dtype

PARTS: Mapping[str, Callable[[np.ndarray], np.ndarray]] = MappingProxyType(
    {"magnitude": np.abs, "real": np.real, "imaginary": np.imag}
)
"""What can be upscaled of complex numbers. Not the phase, which wraps round."""

# Slices converted at a time: 16 float32 fill a cache line of data that runs along K.
_SLAB = 16


class Sink(Protocol):
    """Where bytes go."""

    def write(self, data: bytes, /) -> object:
        """Take them."""


def intensity_dtype(stored: np.dtype, part: str | None) -> np.dtype:
    """Type of the stored numbers whose intensities are upscaled: of a part, where complex.

    Raises
    ------
    VolumeError
        The numbers are colours; they are complex and no part was named, or real and one was.
        The message names no file.
    """
    if stored.names:
        raise VolumeError(
            f"expected one number per voxel, got a colour ({''.join(stored.names)}); export the "
            "scan itself, or one channel"
        )
    if stored.kind == "c":
        if part is None:
            raise VolumeError(
                f"expected real numbers, got {stored.name}; take the magnitude with "
                "`--part magnitude`, or `--part real` or `--part imaginary`"
            )
        return np.dtype(np.float32 if stored.itemsize <= 8 else np.float64)
    if part is not None:
        raise VolumeError(f"holds real numbers, {stored.name}, and no {part} part; drop --part")
    return stored


def intensities(
    stored: np.ndarray, slope: float = 1.0, intercept: float = 0.0, part: str | None = None
) -> np.ndarray:
    """Intensities of stored numbers: float32, or float64 where that would round them."""
    with np.errstate(all="ignore"):  # what overflows is reported with the other infinities
        if part is not None:
            data = PARTS[part](stored * slope + intercept)
            return data.astype(intensity_dtype(stored.dtype, part))
        data = stored.astype(_working_dtype(stored.dtype, slope, intercept))
        if slope != 1:
            data *= slope
        if intercept != 0:
            data += intercept
    return data


def check_intensities(data: np.ndarray) -> None:
    """Refuse a volume with NaN, infinite or nothing but equal intensities; names no file."""
    invalid = data.size - np.count_nonzero(np.isfinite(data))
    if invalid:
        raise VolumeError(
            f"{invalid} of {data.size} voxels are NaN or infinite; replace them first, for example "
            "with numpy.nan_to_num, or `fslmaths IN -nan OUT` if all are NaN"
        )
    if data.min() == data.max():
        raise VolumeError(
            f"all {data.size} voxels are {data.flat[0]:g}, so there is nothing to upscale; check "
            "how it was exported"
        )


def storage_scaling(
    dtype: np.dtype,
    limits: tuple[float, float],
    *,
    source_dtype: np.dtype,
    source_scaling: tuple[float, float],
) -> tuple[float, float]:
    """Slope and intercept under which a type holds intensities between two limits.

    Parameters
    ----------
    dtype : dtype
        Of the numbers to be stored.
    limits : (float, float)
        Least and greatest intensity.
    source_dtype, source_scaling
        Type, slope and intercept of the numbers that were read: kept where all intensities fit,
        and where unscaled integers stay of their type, whose limits are part of their meaning.
    """
    if dtype.kind == "f":
        return 1.0, 0.0
    lowest, highest = integer_limits(dtype)
    if source_dtype.kind in "iu":
        slope, intercept = source_scaling
        first, last = sorted((limit - intercept) / slope for limit in limits)
        fits = lowest - 0.5 <= first and last <= highest + 0.5
        same = dtype.newbyteorder("=") == source_dtype.newbyteorder("=")
        clips = same and source_scaling == (1, 0)
        if fits or clips:
            return source_scaling
    return spanning_scaling(*limits, dtype)


def stored_slabs(
    data: np.ndarray, dtype: np.dtype, slope: float = 1.0, intercept: float = 0.0
) -> Iterator[np.ndarray]:
    """Numbers to be stored for intensities (I, J, K), a few slices (I, J, n) at a time.

    Copies of the whole would double memory.
    """
    for start in range(0, data.shape[2], _SLAB):
        slab = data[:, :, start : start + _SLAB]
        if dtype.kind != "f" and (slope, intercept) != (1, 0):
            slab = (slab.astype(np.float64) - intercept) / slope
        yield to_dtype(slab, dtype)


def to_stored(data: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """All numbers (I, J, K) to be stored for intensities, I fastest in memory."""
    stored = np.empty(data.shape, dtype.newbyteorder("="), order="F")
    for index, slab in enumerate(stored_slabs(data, stored.dtype)):
        stored[:, :, index * _SLAB : (index + 1) * _SLAB] = slab
    return stored


def write_stored(
    sink: Sink, data: np.ndarray, dtype: np.dtype, slope: float = 1.0, intercept: float = 0.0
) -> None:
    """Write intensities (I, J, K) as numbers of a type, I fastest."""
    for slab in stored_slabs(data, dtype, slope, intercept):
        sink.write(slab.tobytes(order="F"))


def _working_dtype(stored: np.dtype, slope: float, intercept: float) -> type[np.floating]:
    """float32, unless it could move an intensity by a quarter of the slope or more."""
    if stored.kind == "f":
        return np.float32 if stored.itemsize <= 4 else np.float64
    largest = max(map(abs, integer_limits(stored))) * abs(slope) + abs(intercept)
    fine = largest * float(np.finfo(np.float32).eps) < abs(slope) / 4
    return np.float32 if fine else np.float64
