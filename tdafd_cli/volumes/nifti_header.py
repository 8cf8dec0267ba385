"""NIfTI headers: read, checked, and moved to another grid."""

import gzip
import logging
import math
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

import numpy as np
from nibabel.nifti1 import Nifti1Header
from nibabel.nifti2 import Nifti2Header
from nibabel.spatialimages import HeaderDataError
from nibabel.wrapstruct import WrapStructError

from tdafd_cli.errors import OutputError, VolumeError
from tdafd_cli.volumes.signatures import header_class

Stream = BinaryIO | gzip.GzipFile
"""Open binary file, which decompresses if need be."""

# Determinant of the unit axes below which they are linearly dependent in float32.
_FLATTEST = 1e-6
# nibabel logs what it repairs in a header; only the repaired header matters here.
_MUTED = logging.Logger("nibabel, muted", level=logging.CRITICAL + 1)


def read_header(stream: Stream) -> Nifti1Header:
    """Read the NIfTI-1 or NIfTI-2 header, extensions included, of a volume that can be upscaled.

    Parameters
    ----------
    stream : Stream
        At its start; left anywhere.

    Raises
    ------
    VolumeError
        The file is of another format; the header is damaged, or does not describe real numbers
        on a grid of 3 dimensions with an invertible affine. The message names no file.
    """
    kind = header_class(stream.read(Nifti2Header.sizeof_hdr))
    stream.seek(0)
    with _readable():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # odd lengths of extensions, repaired on writing
            header: Nifti1Header = kind.from_fileobj(stream, check=False)
        check_header(header)
        _check_offset(header)
    return header


def check_header(header: Nifti1Header) -> None:
    """Repair what nibabel can in a header, in place, and check that its volume can be upscaled.

    Raises
    ------
    VolumeError
        As for `read_header`.
    """
    with _readable():
        _check_voxel_size(header)  # before zeros are replaced by ones
        header.check_fix(logger=_MUTED)
        _check_shape(header)
        _check_dtype(header)
        _check_affine(header)
        slope_intercept(header)


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


def _check_voxel_size(header: Nifti1Header) -> None:
    voxel_size = header["pixdim"][1:4]
    if not (np.isfinite(voxel_size).all() and voxel_size.all()):
        raise VolumeError(
            f"expected a voxel size, got {_listed(voxel_size)}; set pixdim in the header, for "
            "example with `fslchpixdim`"
        )


def _check_shape(header: Nifti1Header) -> None:
    shape = tuple(int(length) for length in header.get_data_shape())
    if min(shape) < 1:
        raise VolumeError(f"no voxels, as its shape is {shape}; export it again")
    if len(shape) < 3:
        raise VolumeError(
            f"expected 3 dimensions, got shape {shape}; stack the slices into a volume, for "
            "example with `fslmerge -z OUT SLICES`"
        )
    count = math.prod(shape[3:])
    if count > 1:
        raise VolumeError(
            f"expected 3 dimensions, got shape {shape}; split it into its {count} volumes, for "
            "example with `fslsplit IN OUT -t`"
        )


def _check_dtype(header: Nifti1Header) -> None:
    dtype = np.dtype(header.get_data_dtype())
    if dtype.names:
        raise VolumeError(
            f"expected one number per voxel, got a colour ({''.join(dtype.names)}); export the "
            "scan itself, or one channel"
        )
    if dtype.kind == "c":
        raise VolumeError(
            f"expected real numbers, got {dtype.name}; take the magnitude, for example with "
            "`fslcomplex -realabs IN OUT`"
        )


def _check_affine(header: Nifti1Header) -> None:
    affine = header.get_best_affine()[:3]
    with np.errstate(all="ignore"):
        unit_axes = affine[:, :3] / np.linalg.norm(affine[:, :3], axis=0)
        solid = abs(np.linalg.det(unit_axes)) > _FLATTEST
    if not (solid and np.isfinite(affine).all()):
        form = "sform" if header["sform_code"] else "qform"
        rows = "; ".join(_listed(row) for row in affine)
        raise VolumeError(
            f"expected an invertible affine, got the {form} [{rows}]; set a valid one, for "
            "example with `fslorient`"
        )


def _check_offset(header: Nifti1Header) -> None:
    if not header.single_vox_offset <= header.get_data_offset() <= sys.maxsize:
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
