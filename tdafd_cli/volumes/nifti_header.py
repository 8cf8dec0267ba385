"""NIfTI headers: read, checked, and moved to another grid."""

import logging
import math
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

import numpy as np
from nibabel.nifti1 import Nifti1Header, Nifti1PairHeader
from nibabel.nifti2 import Nifti2Header, Nifti2PairHeader
from nibabel.spatialimages import HeaderDataError
from nibabel.wrapstruct import WrapStructError

from tdafd_cli.errors import OutputError, VolumeError

# Offset and signature: https://nifti.nimh.nih.gov/nifti-1 and nifti-2.
_CLASSES = (
    (344, b"n+1\0", Nifti1Header),
    (4, b"n+2\0", Nifti2Header),
    (344, b"ni1\0", Nifti1PairHeader),
    (4, b"ni2\0", Nifti2PairHeader),
)
_CHUNK_BYTES = 1 << 20
_LONGEST_NIFTI1 = np.iinfo(np.int16).max

# Determinant of the unit axes below which they are linearly dependent in float32.
_FLATTEST = 1e-6
# nibabel logs what it repairs in a header; only the repaired header matters here.
_MUTED = logging.Logger("nibabel, muted", level=logging.CRITICAL + 1)


class Readable(Protocol):
    """Open binary file, or what decompresses one."""

    def read(self, count: int, /) -> bytes:
        """So many bytes, or all that are left."""

    def seek(self, offset: int, /) -> int:
        """Go to a byte."""

    def tell(self) -> int:
        """Byte that comes next."""


def read_header(stream: Readable) -> Nifti1Header:
    """Read the NIfTI-1 or NIfTI-2 header, extensions included, of what can be upscaled.

    That of a pair of files, too, is given as that of a single file.

    Parameters
    ----------
    stream : Readable
        At its start; left anywhere.

    Raises
    ------
    VolumeError
        The file is of another format; the header is damaged, or does not describe real numbers
        on a grid of 3 dimensions, or of 4, with an invertible affine. The message names no file.
    """
    kind = _header_class(stream.read(Nifti2Header.sizeof_hdr))
    stream.seek(0)
    with _readable():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # odd lengths of extensions, repaired on writing
            header: Nifti1Header = kind.from_fileobj(_Chunked(stream), check=False)
        check_header(header)
        _check_offset(header)
    return header


def check_header(header: Nifti1Header) -> None:
    """Repair what nibabel can in a header, in place, and check that its volumes can be upscaled.

    Raises
    ------
    VolumeError
        As for `read_header`.
    """
    with _readable():
        _check_voxel_size(header)  # before zeros are replaced by ones
        header.check_fix(logger=_MUTED)
        check_shape(header.get_data_shape())
        _check_forms(header)
        slope_intercept(header)


def as_single(header: Nifti1Header) -> Nifti1Header:
    """The header of a pair of files as that of a single one."""
    if header.is_single:
        return header
    kind = Nifti1Header if header.sizeof_hdr == Nifti1Header.sizeof_hdr else Nifti2Header
    return _as_class(header, kind)


def as_pair(header: Nifti1Header) -> Nifti1Header:
    """The header of a single file as that of a pair."""
    is_nifti1 = header.sizeof_hdr == Nifti1Header.sizeof_hdr
    return _as_class(header, Nifti1PairHeader if is_nifti1 else Nifti2PairHeader)


def _as_class(header: Nifti1Header, kind: type[Nifti1Header]) -> Nifti1Header:
    new = kind(header.binaryblock, header.endianness, check=False)
    new["magic"] = kind.single_magic if kind.is_single else kind.pair_magic
    new["vox_offset"] = 0  # nibabel then leaves the room that the extensions need
    new.extensions.extend(header.extensions)
    return new


def new_header(
    shape: tuple[int, ...], dtype: np.dtype, affine: np.ndarray, *, code: int = 1
) -> Nifti1Header:
    """Header of what another format holds: grid, type and millimetres.

    It is of NIfTI-1 unless an axis, four times as fine, would be too long for it.

    Parameters
    ----------
    shape : (I, J, K)
    dtype : dtype
        Of the stored numbers.
    affine : (4, 4) array
        Maps voxel indices to RAS+ millimetres.
    code : int
        Of sform and qform: 1 in the scanner, 2 aligned to something, 0 where the orientation is
        unknown.
    """
    fits = 4 * max(shape) <= _LONGEST_NIFTI1
    header: Nifti1Header = Nifti1Header() if fits else Nifti2Header()
    header.set_data_shape(shape)
    header.set_data_dtype(dtype)
    header.set_xyzt_units("mm", "sec")
    header.set_sform(affine, code=code)
    header.set_qform(affine, code=code)
    if not np.allclose(header.get_qform(), affine, rtol=1e-4, atol=1e-3):
        header["qform_code"] = 0  # it holds no shear
    return header


def spatial_shape(header: Nifti1Header) -> tuple[int, int, int]:
    """Voxels along I, J and K."""
    i, j, k = header.get_data_shape()[:3]
    return int(i), int(j), int(k)


def slope_intercept(header: Nifti1Header) -> tuple[float, float]:
    """Slope and intercept from stored numbers to intensities: 1 and 0 where none are set."""
    slope, intercept = header.get_slope_inter()
    return (1.0, 0.0) if slope is None else (slope, intercept)


def regrid_header(
    header: Nifti1Header, shape: tuple[int, ...], to_old_index: np.ndarray
) -> Nifti1Header:
    """Describe another grid in the world of ``header``, and keep the rest of it.

    Parameters
    ----------
    header : Nifti1Header
        Left as it is.
    shape : (I, J, K)
        Voxels of the new grid.
    to_old_index : (4, 4) array
        Maps indices of the new grid to those of the old.

    Notes
    -----
    Where sform and qform place the volume in two worlds (scanner and template, say), each is
    moved in its own. Both keep their codes; where both codes are 0, only the voxel size changes.
    A qform cannot hold shear, so where it is derived from a sheared sform it comes as close as
    can be. Slice timing is dropped, as the new slices were not acquired.

    Raises
    ------
    OutputError
        The grid has more voxels along an axis than NIfTI-1 can count (32,767).
    """
    longest = np.iinfo(header["dim"].dtype).max
    if max(shape) > longest:
        raise OutputError(
            f"a grid of shape {shape} does not fit in the input's NIfTI version, which counts "
            f"to {longest} along an axis; crop the volume, or convert it to NIfTI-2"
        )
    header = header.copy()
    _move_forms(header, to_old_index)
    header["dim"] = [3, *shape, 1, 1, 1, 1]  # set_data_shape would reset the TR in pixdim[4]
    for name in ("slice_code", "slice_start", "slice_end", "slice_duration"):
        header[name] = 0
    return header


@contextmanager
def _readable() -> Iterator[None]:
    """Say in one line what nibabel finds unreadable in a header."""
    try:
        yield
    except (HeaderDataError, WrapStructError, ValueError, OverflowError) as error:
        reason = " ".join(str(error).split())
        raise VolumeError(f"unusable NIfTI header ({reason}); repair it or export again") from error


class _Chunked:
    """What is read of a stream in pieces, so that no more memory is taken than there is to read."""

    def __init__(self, stream: Readable) -> None:
        self._stream = stream

    def read(self, count: int) -> bytes:
        """So many bytes, or all that are left; nothing if ``count`` is negative."""
        parts: list[bytes] = []
        while count > 0 and (part := self._stream.read(min(count, _CHUNK_BYTES))):
            parts.append(part)
            count -= len(part)
        return b"".join(parts)

    def seek(self, offset: int) -> int:
        """Go to a byte."""
        return self._stream.seek(offset)

    def tell(self) -> int:
        """Byte that comes next."""
        return self._stream.tell()


def _header_class(start: bytes) -> type[Nifti1Header]:
    for offset, signature, kind in _CLASSES:
        if start.startswith(signature, offset):
            return kind
    raise VolumeError("not a NIfTI volume; convert it to NIfTI")


def _check_voxel_size(header: Nifti1Header) -> None:
    voxel_size = header["pixdim"][1:4]
    if not (np.isfinite(voxel_size).all() and voxel_size.all()):
        raise VolumeError(
            f"expected a voxel size, got {_listed(voxel_size)}; set pixdim in the header, for "
            "example with `fslchpixdim`"
        )


def check_shape(shape: tuple[int, ...]) -> None:
    """Refuse what is neither a volume nor a series of them; the message names no file."""
    shape = tuple(int(length) for length in shape)
    if min(shape, default=0) < 1:
        raise VolumeError(f"no voxels, as its shape is {shape}; export it again")
    if len(shape) < 3:
        raise VolumeError(
            f"expected 3 dimensions, got shape {shape}; stack the slices into a volume, for "
            "example with `fslmerge -z OUT SLICES`"
        )
    if math.prod(shape[4:]) > 1:
        raise VolumeError(
            f"expected 3 or 4 dimensions, got shape {shape}; split it into its "
            f"{math.prod(shape[3:])} volumes, for example with `fslsplit IN OUT -t`"
        )


def check_one_volume(shape: tuple[int, ...]) -> None:
    """Refuse a series where one volume is wanted; the message names no file."""
    count = math.prod(shape[3:])
    if count > 1:
        shape = tuple(int(length) for length in shape)
        raise VolumeError(
            f"expected 3 dimensions, got shape {shape}; split it into its {count} volumes, for "
            "example with `fslsplit IN OUT -t`"
        )


def is_invertible(affine: np.ndarray) -> bool:
    """Whether an affine (3 or 4, 4) is finite, and its axes are not in one plane."""
    with np.errstate(all="ignore"):
        affine = affine[:3].astype(np.float32).astype(np.float64)  # as headers hold it
        unit_axes = affine[:, :3] / np.linalg.norm(affine[:, :3], axis=0)
        solid = abs(np.linalg.det(unit_axes)) > _FLATTEST
    return bool(solid and np.isfinite(affine).all())


def check_affine(affine: np.ndarray, *, name: str, advice: str) -> None:
    """Refuse an affine that cannot be inverted; the message names no file."""
    if is_invertible(affine):
        return
    rows = "; ".join(_listed(row) for row in affine[:3])
    raise VolumeError(f"expected an invertible affine, got the {name} [{rows}]; {advice}")


def _check_forms(header: Nifti1Header) -> None:
    check_affine(
        header.get_best_affine(),
        name="sform" if header["sform_code"] else "qform",
        advice="set a valid one, for example with `fslorient`",
    )


def _check_offset(header: Nifti1Header) -> None:
    least = header.single_vox_offset if header.is_single else 0
    if not least <= header.get_data_offset() <= sys.maxsize:
        raise HeaderDataError(f"voxels cannot start at byte {header.get_data_offset()}")


def _move_forms(header: Nifti1Header, to_old_index: np.ndarray) -> None:
    sform, sform_code = header.get_sform(coded=True)
    qform, qform_code = _readable_qform(header), int(header["qform_code"])
    if sform_code == qform_code == 0:
        header["pixdim"][1:4] *= np.linalg.norm(to_old_index[:3, :3], axis=0)
        return
    best = header.get_best_affine()
    sform = best if sform is None else sform
    qform = best if qform is None else qform
    header.set_sform(sform @ to_old_index, code=sform_code)
    header.set_qform(qform @ to_old_index, code=qform_code)


def _readable_qform(header: Nifti1Header) -> np.ndarray | None:
    """Affine of the qform; None where its code is 0 or its fields are no rotation."""
    try:
        qform, _ = header.get_qform(coded=True)
    except ValueError:  # a quaternion longer than 1
        return None
    return qform if qform is not None and np.isfinite(qform).all() else None


def _listed(numbers: np.ndarray) -> str:
    return ", ".join(f"{number:g}" for number in numbers)
