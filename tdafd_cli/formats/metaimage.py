"""MetaImage files, read here: MetaIO ends the whole program over a damaged header, or hangs."""

import math
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from tdafd_cli.errors import VolumeError
from tdafd_cli.formats.itk import MOST_HEADER_BYTES, current_fields, itk_affine
from tdafd_cli.formats.scan import ReadVolumes, Scan, stored_reader
from tdafd_cli.formats.storage import intensities, intensity_dtype
from tdafd_cli.formats.streams import Stream, check_claim, cut_short, naming, reading
from tdafd_cli.volumes.nifti_header import check_affine, check_shape, new_header

_TYPES = {
    "MET_CHAR": "i1",
    "MET_UCHAR": "u1",
    "MET_SHORT": "i2",
    "MET_USHORT": "u2",
    "MET_INT": "i4",
    "MET_UINT": "u4",
    "MET_LONG": "i4",  # of MetaIO, on every machine
    "MET_ULONG": "u4",
    "MET_LONG_LONG": "i8",
    "MET_ULONG_LONG": "u8",
    "MET_FLOAT": "f4",
    "MET_DOUBLE": "f8",
}
# Fields that are the format's own, in lower case: all others are kept.
_OWN = {
    *("objecttype", "objectsubtype", "ndims", "dimsize", "binarydata", "compresseddata"),
    *("binarydatabyteordermsb", "elementbyteordermsb", "compresseddatasize", "headersize"),
    *("transformmatrix", "rotation", "orientation", "offset", "position", "origin"),
    *("centerofrotation", "anatomicalorientation", "elementspacing", "elementsize"),
    *("elementtype", "elementnumberofchannels", "elementdatafile", "modality", "elementmin"),
    *("elementmax", "sequenceid", "id", "parentid", "compressionlevel"),
}
_CHUNK_BYTES = 1 << 20
_LONGEST = 2**53  # whole numbers that a float64 tells apart
_CONVERT = "convert it with `c3d IN -o OUT.nii.gz` or 3D Slicer"


def open_metaimage(path: Path, *, part: str | None = None) -> Scan:
    """Open a MetaImage, its voxels in it or in a file beside it.

    Raises
    ------
    VolumeError
        The file cannot be read or is damaged; it has not 3 or 4 dimensions, one number per voxel,
        or an invertible affine; its voxels are text, or in more than one file.
    """
    with reading(path) as stream:
        fields, length = _fields(stream.read(MOST_HEADER_BYTES))
    with naming(path):
        shape, count = _shape(fields)
        dtype = _dtype(fields)
        intensity_dtype(dtype, part)
        affine = _affine(fields)
        check_affine(affine, name="TransformMatrix", advice="set it, or convert the scan anew")
        voxels, offset = _place(path, fields, length)
        deflated = _flag(fields, "compresseddata")
        with voxels.open("rb") as file:
            offset = _from_the_end(file, fields, shape, dtype, count) if offset < 0 else offset
            check_claim(shape, dtype, file, offset=offset, volumes=count, deflated=deflated)
    header = new_header(shape, dtype, affine)
    make_reader = _deflated_reader if deflated else stored_reader
    read = make_reader(voxels, shape, dtype, offset=offset, count=count)
    others = {name: text for name, text in fields.items() if name.lower() not in _OWN}
    return Scan(header, count, read, path, "metaimage", current_fields(others), affine)


def voxels_file(path: Path) -> Path | None:
    """File that holds the voxels of a MetaImage beside its header, if any can be told."""
    try:
        with reading(path) as stream:
            fields, length = _fields(stream.read(MOST_HEADER_BYTES))
        place, _ = _place(path, fields, length)
    except VolumeError:
        return None
    return place if place != path else None


def _fields(text: bytes) -> tuple[dict[str, str], int]:
    """Fields by name, as written, and the bytes of the header, which ElementDataFile ends."""
    fields: dict[str, str] = {}
    start = 0
    while start < len(text):
        end = text.find(b"\n", start)
        end = len(text) if end < 0 else end
        name, found, value = text[start:end].decode("utf-8", "replace").partition("=")
        start = end + 1
        if not found:
            continue
        fields[name.strip()] = value.strip()
        if name.strip().lower() == "elementdatafile":
            break
    return fields, start


def _value(fields: Mapping[str, str], *names: str) -> str | None:
    """Text of the first of several fields that there is, whatever its case."""
    lower = {name.lower(): value for name, value in fields.items()}
    return next((lower[name.lower()] for name in names if name.lower() in lower), None)


def _flag(fields: Mapping[str, str], *names: str) -> bool:
    return (_value(fields, *names) or "False").lower().startswith(("t", "1"))


def _numbers(fields: Mapping[str, str], *names: str, count: int) -> np.ndarray | None:
    text = _value(fields, *names)
    if text is None:
        return None
    try:
        numbers = np.array([float(word) for word in text.split()])
    except ValueError as error:
        raise VolumeError(f"{names[0]} holds what is no number; repair the header") from error
    if len(numbers) != count:
        raise VolumeError(
            f"{names[0]} holds {len(numbers)} numbers, where {count} were expected; repair the "
            "header or export it again"
        )
    return numbers


def _shape(fields: Mapping[str, str]) -> tuple[tuple[int, int, int], int]:
    """Voxels along I, J and K, and the number of volumes."""
    kind = _value(fields, "objecttype") or "Image"
    if kind.lower() != "image":
        raise VolumeError("holds no image but another MetaIO object; export the scan itself")
    text = _value(fields, "ndims") or ""
    if not text.isascii() or not text.isdecimal() or len(text) > 2:
        raise VolumeError("NDims is missing or no number; repair the header or export it again")
    sizes = _numbers(fields, "DimSize", count=int(text))
    if sizes is None or not (abs(sizes) < _LONGEST).all() or (sizes != np.floor(sizes)).any():
        raise VolumeError("DimSize is missing or no size; repair the header or export it again")
    check_shape(tuple(sizes))
    i, j, k, *others = (int(size) for size in sizes)
    return (i, j, k), math.prod(others)


def _dtype(fields: Mapping[str, str]) -> np.dtype:
    if (_value(fields, "elementnumberofchannels") or "1") != "1":
        raise VolumeError(
            "expected one number per voxel, got colours or vectors; export the scan itself, or "
            "one channel"
        )
    if not _flag(fields, "binarydata") and _value(fields, "binarydata") is not None:
        raise VolumeError(f"its voxels are written as text; {_CONVERT}")
    name = (_value(fields, "elementtype") or "").upper()
    if name not in _TYPES:
        raise VolumeError(f"ElementType is missing or of a kind that is not read; {_CONVERT}")
    big = _flag(fields, "binarydatabyteordermsb", "elementbyteordermsb")
    return np.dtype((">" if big else "<") + _TYPES[name])


def _affine(fields: Mapping[str, str]) -> np.ndarray:
    n = int(_value(fields, "ndims") or 3)
    spacing = _numbers(fields, "ElementSpacing", "ElementSize", count=n)
    origin = _numbers(fields, "Offset", "Position", "Origin", count=n)
    matrix = _numbers(fields, "TransformMatrix", "Rotation", "Orientation", count=n * n)
    spacing = np.ones(n) if spacing is None else spacing
    origin = np.zeros(n) if origin is None else origin
    axes = np.eye(n) if matrix is None else matrix.reshape(n, n).T  # one axis after the other
    return itk_affine(spacing.tolist(), origin.tolist(), axes.ravel().tolist())


def _place(path: Path, fields: Mapping[str, str], length: int) -> tuple[Path, int]:
    """File of the voxels and the byte they start at, -1 if they end with the file."""
    name = _value(fields, "elementdatafile")
    if name is None:
        raise VolumeError("ElementDataFile is missing; repair the header or export it again")
    if name.lower() == "local":
        return path, length
    if name.upper().startswith("LIST") or "%" in name or len(name.split()) > 1:
        named = path.parent / name
        if name.upper().startswith("LIST") or not named.is_file():
            raise VolumeError(f"its voxels are in several files; {_CONVERT}")
    place = path.parent / name
    try:
        is_file = place.is_file()
    except (OSError, ValueError):  # a name too long, or with a null character
        is_file = False
    if not is_file:
        raise VolumeError(f"its voxels, {place.name[:80]}, are not beside it; copy them there")
    skipped = _numbers(fields, "HeaderSize", count=1)
    offset = 0 if skipped is None else float(skipped[0])
    if not -1 <= offset <= place.stat().st_size:
        raise VolumeError("HeaderSize lies beyond the file; repair the header")
    return place, int(offset)


def _from_the_end(
    file: Stream, fields: Mapping[str, str], shape: tuple[int, ...], dtype: np.dtype, count: int
) -> int:
    """Byte at which voxels start that end with the file."""
    wanted = math.prod(shape) * dtype.itemsize * count
    size = file.seek(0, 2)
    if _flag(fields, "compresseddata") or size < wanted:
        raise cut_short(size, wanted)
    return size - wanted


def _deflated_reader(
    path: Path, shape: tuple[int, int, int], dtype: np.dtype, *, offset: int, count: int
) -> ReadVolumes:
    """Reader of volumes that were compressed together by zlib."""
    size = math.prod(shape) * dtype.itemsize

    def read(numbers: Sequence[int]) -> Iterator[np.ndarray]:
        with naming(path), path.open("rb") as file:
            file.seek(offset)
            inflated = _Inflated(file)
            at = 0
            for number in numbers:
                while at < number * size:
                    at += len(inflated.read(min(_CHUNK_BYTES, number * size - at)))
                stored = inflated.read(size)
                at += size
                if number == count - 1:
                    inflated.finish()
                yield intensities(np.frombuffer(stored, dtype).reshape(shape, order="F"))

    return read


class _Inflated:
    """Bytes of a zlib or gzip stream, in order."""

    def __init__(self, file: Stream) -> None:
        self._file = file
        self._object = zlib.decompressobj(zlib.MAX_WBITS | 32)  # either header

    def finish(self) -> None:
        """Compare the checksum, where nothing is left; an error where the stream does not end."""
        if not self._object.eof:
            data = self._object.unconsumed_tail or self._file.read(_CHUNK_BYTES)
            if not self._object.decompress(data, 1) and not self._object.eof:
                raise EOFError

    def read(self, count: int) -> bytes:
        """So many bytes; an error where there are fewer."""
        parts: list[bytes] = []
        missing = count
        while missing:
            data = self._object.unconsumed_tail or self._file.read(_CHUNK_BYTES)
            part = self._object.decompress(data, missing)
            if not part and (self._object.eof or not data):
                raise cut_short(count - missing, count)
            parts.append(part)
            missing -= len(part)
        return b"".join(parts)
