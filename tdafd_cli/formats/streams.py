"""Streams: files opened, (de)compressed, named in errors, and held to what headers claim."""

import gzip
import math
import os
import zlib
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import BinaryIO

import numpy as np

from tdafd_cli.errors import VolumeError

Stream = BinaryIO | gzip.GzipFile
"""Open binary file, which decompresses if need be."""

MOST_DEFLATED = 1032
"""Bytes at most that one byte of gzip or zlib data becomes: https://zlib.net/zlib_tech.html."""
_MOST_TOLD = 10**30  # bytes; sizes in text may be too large for a float
_GZIP_SIGNATURE = b"\x1f\x8b"
# Level 6 saves 1-5 % of an upscaled scan for up to 3 times the seconds (26 MB of int16: 0.4, 1.4).
GZIP_LEVEL = 1


@contextmanager
def reading(path: Path) -> Iterator[Stream]:
    """Open a file, decompressed if it starts like gzip, and name it in every error.

    Raises
    ------
    VolumeError
        The file cannot be opened, or what is done with it raises one that names no file.
    """
    with naming(path), path.open("rb") as file:
        zipped = file.read(len(_GZIP_SIGNATURE)) == _GZIP_SIGNATURE
        file.seek(0)
        with gzip.GzipFile(fileobj=file) if zipped else nullcontext(file) as stream:
            yield stream


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Name a file in the errors of whoever reads it."""
    try:
        yield
    except VolumeError as error:
        raise VolumeError(f"{path}: {error}") from error.__cause__
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise VolumeError(f"{path}: gzip data cut short or damaged; copy the file again") from error
    except FileNotFoundError as error:
        raise VolumeError(f"{path}: no such file; check the name") from error
    except PermissionError as error:
        raise VolumeError(f"{path}: no permission to read it; ask its owner") from error
    except OSError as error:
        raise VolumeError(f"{path}: cannot be read: {error.strerror or error}") from error


def check_claim(
    shape: tuple[int, ...],
    dtype: np.dtype,
    stream: Stream,
    *,
    offset: int = 0,
    volumes: int = 1,
    deflated: bool = False,
) -> None:
    """Refuse a header that claims more than its file or the free memory can hold.

    Nothing is allocated or decompressed for it.

    Parameters
    ----------
    shape : (I, J, K)
        Of one volume, all of which is read at once.
    dtype : dtype
        Of the stored numbers.
    stream : Stream
    offset : int
        Byte at which the voxels start.
    volumes : int
    deflated : bool
        Whether they are compressed within the stream.

    Raises
    ------
    VolumeError
        The message names no file.
    """
    zipped = isinstance(stream, gzip.GzipFile)
    size = os.fstat(stream.fileno()).st_size
    wanted = math.prod(shape) * dtype.itemsize * volumes
    check_memory(shape, dtype)
    if not (zipped or deflated):
        if offset + wanted > size:
            raise cut_short(max(0, size - offset), wanted)
    elif wanted > size * MOST_DEFLATED:
        raise VolumeError(
            f"the header claims {gigabytes(wanted)} of voxels, more than a compressed file of "
            f"{size} bytes can hold; copy the file again"
        )


def check_memory(shape: tuple[int, ...], dtype: np.dtype) -> None:
    """Refuse a volume of a shape that the free memory cannot hold; the message names no file."""
    from tdafd_cli.machine.memory import free_main_memory

    # As stored, and as float32 or float64.
    needed = math.prod(shape) * (dtype.itemsize + (4 if dtype.itemsize <= 2 else 8))
    free = free_main_memory()
    if needed > free:
        raise VolumeError(
            f"shape {shape} needs {gigabytes(needed)} of memory, and {gigabytes(free)} are free; "
            "crop it first, or take a larger machine"
        )


def read_stored(
    stream: Stream, shape: tuple[int, ...], dtype: np.dtype, *, offset: int
) -> np.ndarray:
    """Numbers (I, J, K) as they are stored from a byte on, I fastest.

    Raises
    ------
    VolumeError
        There are too few; the message names no file.
    """
    wanted = math.prod(shape) * dtype.itemsize
    stream.seek(offset)
    try:
        stored = stream.read(wanted)
    except (MemoryError, OverflowError) as error:
        raise VolumeError(
            f"shape {shape} needs {gigabytes(wanted)} of memory; crop it first"
        ) from error
    if len(stored) < wanted:
        raise cut_short(len(stored), wanted)
    return np.frombuffer(stored, dtype).reshape(shape, order="F")


def gigabytes(count: int) -> str:
    """Bytes as text.

    >>> gigabytes(1_234_567_890)
    '1.23 GB'
    """
    return f"{min(count, _MOST_TOLD) / 1e9:.3g} GB"


def cut_short(found: int, wanted: int) -> VolumeError:
    """Error of a file that ends before its voxels do."""
    return VolumeError(f"cut short, with {found} of {wanted} bytes of voxels; copy the file again")


def compressed(file: BinaryIO, path: Path) -> AbstractContextManager[Stream]:
    """Stream into a file, gzipped if its name says so."""
    if path.suffix.lower() not in (".gz", ".mgz"):
        return nullcontext(file)
    # No name and no time inside, so that equal volumes make equal files.
    return gzip.GzipFile("", "wb", GZIP_LEVEL, file, mtime=0)
