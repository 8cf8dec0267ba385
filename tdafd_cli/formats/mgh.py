"""FreeSurfer's MGH and MGZ files: read, and written volume by volume."""

from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
from nibabel.freesurfer.mghformat import DATA_OFFSET, MGHHeader
from nibabel.nifti1 import Nifti1Header

from tdafd_cli.errors import VolumeError
from tdafd_cli.formats.scan import Scan, stored_reader
from tdafd_cli.formats.storage import write_stored
from tdafd_cli.formats.streams import Stream, check_claim, compressed, reading
from tdafd_cli.output import replacing
from tdafd_cli.volumes.nifti_header import check_affine, check_shape, new_header, spatial_shape

DTYPES = frozenset({"uint8", "int16", "uint16", "int32", "float32"})
"""Types that MGH files hold."""

_FOOTER = ("tr", "flip_angle", "te", "ti")
"""Fields after the voxels: times in ms, and radians."""
_FOOTER_BYTES = MGHHeader._ftrdtype.itemsize


def open_mgh(path: Path, *, part: str | None = None) -> Scan:
    """Open an MGH file, gzipped or not, whatever its name.

    Raises
    ------
    VolumeError
        The file cannot be read or is damaged; it holds no numbers of a type that is known, or has
        no invertible affine.
    """
    if part is not None:
        raise VolumeError(f"{path}: MGH files hold real numbers, and no {part} part; drop --part")
    with reading(path) as stream:
        mgh = _read_header(stream)
        shape, count = _shape(mgh), int(mgh["dims"][3])
        affine = _affine(mgh)
        check_affine(affine, name="matrix", advice="set it, for example with `mri_convert`")
        dtype = mgh.get_data_dtype()
        check_claim(shape, dtype, stream, offset=DATA_OFFSET, volumes=count)
        stream.seek(mgh.get_footer_offset())
        mgh = MGHHeader(mgh.binaryblock[:-_FOOTER_BYTES] + stream.read(_FOOTER_BYTES), check=False)
    header = new_header(shape, dtype, affine)
    if count > 1 and np.isfinite(mgh["tr"]) and mgh["tr"] > 0:
        header["pixdim"][4] = mgh["tr"] / 1000
    read = stored_reader(path, shape, dtype, offset=DATA_OFFSET, count=count)
    kept = {name: repr(float(mgh[name])) for name in _FOOTER if np.isfinite(mgh[name])}
    return Scan(header, count, read, path, "mgh", kept, affine)


def write_mgh(
    path: Path,
    header: Nifti1Header,
    affine: np.ndarray,
    kept: Mapping[str, str],
    volumes: Iterable[np.ndarray],
) -> None:
    """Write an MGH file, gzipped if its name ends in ``.mgz``, one volume after the other.

    Parameters
    ----------
    path : Path
    header : Nifti1Header
        With shape and type, one of `DTYPES`, as they are to be.
    affine : (4, 4) array
        Maps voxel indices to RAS+ millimetres.
    kept : mapping
        Fields of an MGH file that was read.
    volumes : iterable of (I, J, K) arrays
        Intensities; of these one is held at a time.
    """
    shape = spatial_shape(header)
    count = int(header["dim"][4]) if header["dim"][0] > 3 else 1
    mgh = MGHHeader()
    mgh.set_data_shape((*shape, count))
    mgh.set_data_dtype(header.get_data_dtype().newbyteorder("="))
    sizes = np.linalg.norm(affine[:3, :3], axis=0)
    mgh["delta"], mgh["Mdc"] = sizes, (affine[:3, :3] / sizes).T
    mgh["Pxyz_c"] = affine[:3, :3] @ np.divide(shape, 2) + affine[:3, 3]
    if count > 1:
        mgh["tr"] = _milliseconds(header)
    for name in _FOOTER:
        if name in kept:
            mgh[name] = float(kept[name])
    block = mgh.binaryblock
    head = block[:-_FOOTER_BYTES]
    with replacing(path) as file, compressed(file, path) as stream:
        stream.write(head + bytes(DATA_OFFSET - len(head)))
        for data in volumes:
            write_stored(stream, data, mgh.get_data_dtype())
        stream.write(block[-_FOOTER_BYTES:])


def _read_header(stream: Stream) -> MGHHeader:
    start = stream.read(DATA_OFFSET)
    if len(start) < DATA_OFFSET:
        raise VolumeError("cut short within its header; copy the file again")
    mgh = MGHHeader(start[: MGHHeader._hdrdtype.itemsize], check=False)
    code = int(mgh["type"])
    if code not in mgh._data_type_codes.code:
        raise VolumeError(
            f"holds numbers of MGH type {code}, which is not known here; convert it with "
            "`mri_convert -odt float IN OUT`"
        )
    return mgh


def _shape(mgh: MGHHeader) -> tuple[int, int, int]:
    check_shape(tuple(np.asarray(mgh["dims"])))
    i, j, k = (int(length) for length in mgh["dims"][:3])
    return i, j, k


def _affine(mgh: MGHHeader) -> np.ndarray:
    """As `MGHHeader.get_affine` has it, in double precision."""
    affine = np.eye(4)
    with np.errstate(all="ignore"):
        affine[:3, :3] = mgh["Mdc"].T.astype(np.float64) * mgh["delta"]
        affine[:3, 3] = mgh["Pxyz_c"] - affine[:3, :3] @ (mgh["dims"][:3] / 2)
    return affine


def _milliseconds(header: Nifti1Header) -> float:
    """Time between volumes: 0 where the fourth axis is none of time."""
    unit = header.get_xyzt_units()[1]
    factor = {"sec": 1000.0, "unknown": 1000.0, "msec": 1.0, "usec": 0.001}.get(unit, 0.0)
    return float(header["pixdim"][4]) * factor
