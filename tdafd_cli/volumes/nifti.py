"""NIfTI files, read into volumes and written from them."""

import gzip
import math
import zlib
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from itertools import islice
from pathlib import Path
from typing import BinaryIO

import numpy as np
from nibabel.nifti1 import Nifti1Header

from tdafd_cli.errors import OutputError, VolumeError
from tdafd_cli.output import check_writable, replacing
from tdafd_cli.volumes.intensity import integer_limits, spanning_scaling, to_dtype
from tdafd_cli.volumes.nifti_header import Stream, read_header, slope_intercept, spatial_shape
from tdafd_cli.volumes.volume import Volume

SUFFIXES = (".nii", ".nii.gz")
"""Endings of NIfTI files, in lower case."""

OUTPUT_DTYPES = ("input", "uint8", "int16", "uint16", "int32", "uint32", "float32", "float64")
"""Values of ``dtype`` that `write_volume` takes."""

_GZIP_SIGNATURE = b"\x1f\x8b"
# Level 6 saves 1-5 % of an upscaled scan for up to 3 times the seconds (26 MB of int16: 0.4, 1.4).
_GZIP_LEVEL = 1
# Slices converted at a time: 16 float32 fill a cache line of data that runs along K.
_SLAB = 16
# Files of a folder that are examined for DICOM; notes may come before the first slice.
_FOLDER_SAMPLE = 20


def read_volume(path: str | Path) -> Volume:
    """Read a NIfTI-1 or NIfTI-2 file, gzipped or not, whatever its name.

    Any integer or float type, byte order, slope and intercept, orientation and voxel size will
    do. Trailing dimensions of length 1 are dropped.

    Raises
    ------
    VolumeError
        The file cannot be read, is of another format, or is damaged; it has not 3 dimensions,
        real numbers, an invertible affine, or at least two different intensities, all finite.
    """
    path = Path(path)
    with _reading(path) as stream:
        header = read_header(stream)
        data = intensities(_read_stored(stream, header), *slope_intercept(header))
    return Volume(data, np.array(header.get_best_affine(), dtype=np.float64), header, path)


def check_target(path: str | Path, overwrite: bool = False, *, source: Path | None = None) -> None:
    """Raise `OutputError` if `write_volume` would refuse ``path``: ask before any computing.

    Parameters
    ----------
    path : str or Path
        Where the result shall go.
    overwrite : bool
        Whether an existing file may be replaced.
    source : Path, optional
        Input file, which is never replaced, even through a link.
    """
    path = Path(path)
    if not path.name.lower().endswith(SUFFIXES):
        raise OutputError(f"{path}: unknown kind of file; end its name in {' or '.join(SUFFIXES)}")
    check_writable(path, overwrite, source=source)


def write_volume(
    path: str | Path, volume: Volume, *, dtype: str = "input", overwrite: bool = False
) -> None:
    """Write a NIfTI file, whole or not at all.

    Parameters
    ----------
    path : str or Path
        Target, gzipped if it ends in ``.gz``. Equal volumes make equal bytes.
    volume : Volume
        Finite intensities with a header for their grid, as `grid.regridded` makes it.
    dtype : str
        One of `OUTPUT_DTYPES`; "input" is the type of the file that was read.
    overwrite : bool
        Whether an existing file may be replaced; ``volume.path`` never is.

    Notes
    -----
    Floats are stored as they are. Integers are rounded and keep the input's slope and intercept,
    so that intensities change by at most half a slope. Where that would cut intensities off,
    unscaled integers of the input's type are clipped, as the type's limits are part of their
    meaning; all others get a slope and intercept that span the intensities.

    Raises
    ------
    OutputError
        The target is refused by `check_target`, or writing fails. No partial file is left.
    """
    path = Path(path)
    _check_storable(volume, dtype)
    check_target(path, overwrite, source=volume.path)
    with replacing(path) as file, _compressed(file, path) as stream:
        _write(stream, volume, dtype)


def write_stream(stream: Stream, volume: Volume, *, dtype: str = "input") -> None:
    """Write a NIfTI file, not compressed, into a stream, as `write_volume` does into a file."""
    _check_storable(volume, dtype)
    _write(stream, volume, dtype)


def check_dtype(dtype: str) -> None:
    """Raise `ValueError` if ``dtype`` is none of `OUTPUT_DTYPES`."""
    if dtype not in OUTPUT_DTYPES:
        raise ValueError(f"dtype must be one of {', '.join(OUTPUT_DTYPES)}, got {dtype!r}")


def intensities(stored: np.ndarray, slope: float = 1.0, intercept: float = 0.0) -> np.ndarray:
    """Intensities that stored numbers stand for, in a copy: float32, or float64 if need be.

    Raises
    ------
    VolumeError
        They are not all finite, or all the same. The message names no file.
    """
    data = _scaled(stored, slope, intercept)
    _check_intensities(data)
    return data


def _check_storable(volume: Volume, dtype: str) -> None:
    check_dtype(dtype)
    if spatial_shape(volume.header) != volume.shape:
        raise ValueError("header and data differ in shape: regridded makes them agree")
    if not np.isfinite(volume.data).all():
        raise ValueError("intensities must be finite")


def _write(stream: Stream, volume: Volume, dtype: str) -> None:
    header = volume.header.copy()
    if dtype != "input":
        header.set_data_dtype(dtype)
    header["scl_slope"], header["scl_inter"] = _storage_scaling(volume, header.get_data_dtype())
    header["vox_offset"] = 0  # nibabel then leaves the room that the extensions need
    header.write_to(stream)
    _write_voxels(stream, volume.data, header)


@contextmanager
def _reading(path: Path) -> Iterator[Stream]:
    """Open a file, decompressed if it starts like gzip, and name it in every error."""
    try:
        if path.is_dir():
            raise VolumeError(_folder_advice(path))
        with path.open("rb") as file:
            zipped = file.read(len(_GZIP_SIGNATURE)) == _GZIP_SIGNATURE
            file.seek(0)
            with gzip.GzipFile(fileobj=file) if zipped else nullcontext(file) as stream:
                yield stream
    except VolumeError as error:
        raise VolumeError(f"{path}: {error}") from error.__cause__
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise VolumeError(f"{path}: gzip data cut short or damaged; copy the file again") from error
    except FileNotFoundError as error:
        raise VolumeError(f"{path}: no such file; check the name") from error
    except PermissionError as error:
        raise VolumeError(f"{path}: no permission to read it; ask its owner") from error
    except OSError as error:
        raise VolumeError(f"{path}: cannot be read: {error.strerror}") from error


def _folder_advice(folder: Path) -> str:
    files = (path for path in sorted(folder.iterdir()) if path.is_file())
    if any(_is_dicom(path) for path in islice(files, _FOLDER_SAMPLE)):
        return "a folder of DICOM files; convert it to NIfTI with `dcm2niix FOLDER`"
    return "a folder; name one NIfTI file in it"


def _is_dicom(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(132).endswith(b"DICM")


def _read_stored(stream: Stream, header: Nifti1Header) -> np.ndarray:
    shape, dtype = spatial_shape(header), header.get_data_dtype()
    wanted = math.prod(shape) * dtype.itemsize
    stream.seek(header.get_data_offset())
    try:
        stored = stream.read(wanted)
    except (MemoryError, OverflowError) as error:
        size = f"{wanted / 1e9:.3g} GB"
        raise VolumeError(f"shape {shape} needs {size} of memory; crop it first") from error
    if len(stored) < wanted:
        found = f"{len(stored)} of {wanted} bytes of voxels"
        raise VolumeError(f"cut short, with {found}; copy the file again")
    stream.read(1)  # at the end of the file, gzip compares its checksum
    return np.frombuffer(stored, dtype).reshape(shape, order="F")


def _scaled(stored: np.ndarray, slope: float, intercept: float) -> np.ndarray:
    with np.errstate(all="ignore"):  # what overflows is reported with the other infinities
        data = stored.astype(_working_dtype(stored.dtype, slope, intercept))
        if slope != 1:
            data *= slope
        if intercept != 0:
            data += intercept
    return data


def _working_dtype(stored: np.dtype, slope: float, intercept: float) -> type[np.floating]:
    """float32, unless it could move an intensity by a quarter of the slope or more."""
    if stored.kind == "f":
        return np.float32 if stored.itemsize <= 4 else np.float64
    largest = max(map(abs, integer_limits(stored))) * abs(slope) + abs(intercept)
    fine = largest * float(np.finfo(np.float32).eps) < abs(slope) / 4
    return np.float32 if fine else np.float64


def _check_intensities(data: np.ndarray) -> None:
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


def _storage_scaling(volume: Volume, dtype: np.dtype) -> tuple[float, float]:
    """Slope and intercept under which ``dtype`` holds the intensities; see `write_volume`."""
    if dtype.kind == "f":
        return 1.0, 0.0
    low, high = float(volume.data.min()), float(volume.data.max())
    lowest, highest = integer_limits(dtype)
    if volume.stored_dtype.kind in "iu":
        slope, intercept = slope_intercept(volume.header)
        first, last = sorted(((low - intercept) / slope, (high - intercept) / slope))
        fits = lowest - 0.5 <= first and last <= highest + 0.5
        same = dtype.newbyteorder("=") == volume.stored_dtype
        clips = same and (slope, intercept) == (1, 0)
        if fits or clips:
            return slope, intercept
    return spanning_scaling(low, high, dtype)


def _compressed(file: BinaryIO, path: Path) -> AbstractContextManager[Stream]:
    if path.suffix.lower() != ".gz":
        return nullcontext(file)
    # No name and no time inside, so that equal volumes make equal files.
    return gzip.GzipFile("", "wb", _GZIP_LEVEL, file, mtime=0)


def _write_voxels(stream: Stream, data: np.ndarray, header: Nifti1Header) -> None:
    """Write voxels as the header describes, a few slices at a time: copies would double memory."""
    dtype = header.get_data_dtype()
    slope, intercept = slope_intercept(header)
    for start in range(0, data.shape[2], _SLAB):
        slab = data[:, :, start : start + _SLAB]
        if dtype.kind != "f":
            slab = (slab.astype(np.float64) - intercept) / slope
        stream.write(to_dtype(slab, dtype).tobytes(order="F"))
