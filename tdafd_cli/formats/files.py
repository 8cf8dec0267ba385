"""File formats: which file is read how, and which name is written as what."""

from collections.abc import Callable, Iterable, Mapping
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

import numpy as np
from nibabel.nifti1 import Nifti1Header

from tdafd_cli.errors import OutputError, VolumeError
from tdafd_cli.formats.dicom import open_dicom
from tdafd_cli.formats.itk import open_nrrd, voxels_name, write_metaimage, write_nrrd
from tdafd_cli.formats.metaimage import open_metaimage
from tdafd_cli.formats.mgh import DTYPES as MGH_DTYPES
from tdafd_cli.formats.mgh import open_mgh, write_mgh
from tdafd_cli.formats.nifti import (
    open_analyze,
    open_nifti,
    open_pair,
    pair_names,
    pair_of,
    write_nifti,
    write_nifti_stream,
    write_pair,
)
from tdafd_cli.formats.scan import Scan
from tdafd_cli.formats.signatures import START_BYTES, format_name
from tdafd_cli.formats.storage import storage_scaling
from tdafd_cli.formats.streams import reading
from tdafd_cli.output import check_writable
from tdafd_cli.volumes.nifti_header import slope_intercept, spatial_shape
from tdafd_cli.volumes.volume import Volume

OUTPUT_DTYPES = ("input", "uint8", "int16", "uint16", "int32", "uint32", "float32", "float64")
"""Values of ``dtype`` that `write_volume` takes."""

NIFTI_DTYPES = frozenset(
    {"int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64"}
    | {"float32", "float64", "float128", "longdouble"}
)
_ITK_DTYPES = NIFTI_DTYPES - {"float128", "longdouble"}
# From narrow to wide: which of them takes the place of a type that a format does not hold.
_BY_WIDTH = ("uint8", "int16", "uint16", "int32", "float32", "float64")
_MILLIMETRES = {"meter": 1e3, "micron": 1e-3}

Writer = Callable[[Path, Nifti1Header, np.ndarray, Mapping[str, str], Iterable[np.ndarray]], object]


class Format(NamedTuple):
    """A format that files have.

    Attributes
    ----------
    label : str
        As people call it.
    open : callable
        Opens a file.
    suffixes : tuple of str
        Endings of the names that are written as such, in lower case; none if it is only read.
    write : callable, optional
    dtypes : set of str
        Types of numbers that it holds.
    scales : bool
        Whether it holds a slope and an intercept, and units; lengths are millimetres otherwise.
    series : bool
        Whether many volumes are written, one after the other.
    """

    label: str
    open: Callable[..., Scan]
    suffixes: tuple[str, ...] = ()
    write: Writer | None = None
    dtypes: frozenset[str] = NIFTI_DTYPES
    scales: bool = False
    series: bool = False


FORMATS: Mapping[str, Format] = {
    "nifti": Format(
        "NIfTI", open_nifti, (".nii.gz", ".nii"), write_nifti, scales=True, series=True
    ),
    "pair": Format("NIfTI", open_pair, (".hdr", ".img"), write_pair, scales=True, series=True),
    "analyze": Format("Analyze", open_analyze),
    "mgh": Format("MGH", open_mgh, (".mgz", ".mgh"), write_mgh, MGH_DTYPES, series=True),
    "nrrd": Format("NRRD", open_nrrd, (".nrrd", ".nhdr"), write_nrrd, _ITK_DTYPES),
    "metaimage": Format(
        "MetaImage", open_metaimage, (".mha", ".mhd"), write_metaimage, _ITK_DTYPES
    ),
    "dicom": Format("DICOM", open_dicom),
}
"""By name."""

SUFFIXES = tuple(suffix for each in FORMATS.values() for suffix in each.suffixes)
"""Endings of files that are written, in lower case."""

_DICOM_SUFFIXES = (".dcm", ".dicom", ".ima")


def open_scan(path: str | Path, *, series: str | None = None, part: str | None = None) -> Scan:
    """Open a file of any format, or a folder of DICOM files; no voxel is read yet.

    The first bytes decide, and not the name.

    Parameters
    ----------
    path : str or Path
    series : str, optional
        Which of the DICOM series in a folder: its number, or the beginning of its UID.
    part : str, optional
        Of complex numbers, one of `storage.PARTS`.

    Raises
    ------
    VolumeError
        The file cannot be read, is of a format that is not, or is damaged; it has not 3 or 4
        dimensions, one real number per voxel, or an invertible affine; it claims to be larger
        than the file or the free memory can hold.
    """
    path = Path(path)
    if path.is_dir():
        return open_dicom(path, series=series, part=part)
    if series is not None:
        raise VolumeError(f"{path}: no folder of DICOM series; drop --series")
    with reading(path) as stream:
        name = format_name(stream.read(START_BYTES), path)
    if name == "pair" and path.name.lower().endswith((".img", ".img.gz")):
        header_path, _ = pair_of(path)
        with reading(header_path) as stream:
            name = format_name(stream.read(START_BYTES), header_path)
    return FORMATS[name].open(path, part=part)


def read_volume(path: str | Path, *, series: str | None = None, part: str | None = None) -> Volume:
    """Read a volume of any format.

    Parameters
    ----------
    path, series, part
        As for `open_scan`.

    Raises
    ------
    VolumeError
        As for `open_scan`, or there are several volumes, or one without at least two different
        intensities, all finite.
    """
    return open_scan(path, series=series, part=part).only_volume()


def check_target(path: str | Path, overwrite: bool = False, *, source: Path | None = None) -> None:
    """Raise `OutputError` if `write_volume` would refuse ``path``: ask before any computing.

    Parameters
    ----------
    path : str or Path
        Where the result shall go.
    overwrite : bool
        Whether existing files may be replaced.
    source : Path, optional
        Input, no file of which is ever replaced, even through a link.
    """
    path = Path(path)
    format_to_write(path)
    sources = [None] if source is None else _files_read(source)
    for target in _files_written(path):
        for file in sources:
            check_writable(target, overwrite, source=file)


def format_to_write(path: Path) -> Format:
    """Format that a name's ending asks for."""
    name = path.name.lower()
    for each in FORMATS.values():
        if name.endswith(each.suffixes):
            return each
    if name.endswith(_DICOM_SUFFIXES):
        raise OutputError(
            f"{path}: DICOM is not written, as a result is no acquisition of a scanner; end its "
            "name in .nii.gz"
        )
    raise OutputError(f"{path}: unknown kind of file; end its name in {', '.join(SUFFIXES)}")


def check_storage(
    path: str | Path, header: Nifti1Header, dtype: str = "input", *, volumes: int = 1
) -> None:
    """Raise `OutputError` if a target's format cannot hold what is made of an input.

    Parameters
    ----------
    path : str or Path
        Target.
    header : Nifti1Header
        Of the input.
    dtype : str
        One of `OUTPUT_DTYPES`.
    volumes : int
        How many there are.
    """
    path = Path(path)
    kind = format_to_write(path)
    if volumes > 1 and not kind.series:
        raise OutputError(
            f"{path}: {kind.label} is written with one volume, and there are {volumes}; end its "
            "name in .nii.gz, or take one with --volumes"
        )
    if not kind.scales:
        _unscaled_dtype(path, kind, header, dtype)


def write_volume(
    path: str | Path, volume: Volume, *, dtype: str = "input", overwrite: bool = False
) -> None:
    """Write a file, whole or not at all, in the format that its name asks for.

    Parameters
    ----------
    path : str or Path
        Target, which ends in one of `SUFFIXES`. Equal volumes make equal bytes.
    volume : Volume
        Finite intensities with a header for their grid, as `grid.regridded` makes it.
    dtype : str
        One of `OUTPUT_DTYPES`; "input" is the type of the file that was read.
    overwrite : bool
        Whether existing files may be replaced; those of ``volume.path`` never are.

    Notes
    -----
    Floats are stored as they are. In NIfTI, integers are rounded and keep the input's slope and
    intercept, so that intensities change by at most half a slope. Where that would cut intensities
    off, unscaled integers of the input's type are clipped, as the type's limits are part of their
    meaning; all others get a slope and intercept that span the intensities.

    Other formats have no slope: integers stay integers, clipped, in a type that holds all of the
    input's, and what was scaled becomes float32. Fields that only one format has are kept where it
    is that of the input.

    Raises
    ------
    OutputError
        The target is refused by `check_target` or `check_storage`, or writing fails. No partial
        file is left.
    """
    path = Path(path)
    _check_storable(volume, dtype)
    check_target(path, overwrite, source=volume.path)
    limits = float(volume.data.min()), float(volume.data.max())
    header = stored_header(path, volume.header, dtype, limits)
    write_volumes(path, header, [volume.data], like=volume)


def write_volumes(
    path: Path, header: Nifti1Header, volumes: Iterable[np.ndarray], *, like: Volume | Scan
) -> None:
    """Write volumes (I, J, K) as a header from `stored_header` describes them, one at a time.

    ``like`` gives the affine, and the fields that only its own format has.
    """
    kind = format_to_write(path)
    assert kind.write is not None
    unit = header.get_xyzt_units()[0]
    factor = 1.0 if kind.scales else _MILLIMETRES.get(unit, 1.0)
    affine = np.diag([factor] * 3 + [1.0]) @ like.affine
    kept = like.kept if FORMATS.get(like.format) is kind else {}
    kind.write(path, header, affine, kept, volumes)


def write_stream(stream: BytesIO, volume: Volume, *, dtype: str = "input") -> None:
    """Write a NIfTI file, not compressed, into a stream, as `write_volume` does into a file."""
    _check_storable(volume, dtype)
    limits = float(volume.data.min()), float(volume.data.max())
    header = stored_header(Path("stream.nii"), volume.header, dtype, limits)
    write_nifti_stream(stream, header, [volume.data])


def stored_header(
    path: Path,
    header: Nifti1Header,
    dtype: str,
    limits: tuple[float, float],
    *,
    volumes: int = 1,
) -> Nifti1Header:
    """Header of a file to be written: of a type, slope and intercept that its format has.

    Parameters
    ----------
    path : Path
    header : Nifti1Header
        Of one volume, with the type, slope and intercept that were read.
    dtype : str
        One of `OUTPUT_DTYPES`.
    limits : (float, float)
        Least and greatest intensity to be stored.
    volumes : int
        How many there will be.
    """
    kind = format_to_write(path)
    source_dtype, source_scaling = header.get_data_dtype(), slope_intercept(header)
    header = header.copy()
    if not kind.scales:
        header.set_data_dtype(_unscaled_dtype(path, kind, header, dtype))
        header["scl_slope"], header["scl_inter"] = 1, 0
    else:
        if dtype != "input":
            header.set_data_dtype(dtype)
        header["scl_slope"], header["scl_inter"] = storage_scaling(
            header.get_data_dtype(),
            limits,
            source_dtype=source_dtype,
            source_scaling=source_scaling,
        )
    if volumes > 1:
        header["dim"] = [4, *spatial_shape(header), volumes, 1, 1, 1]
    return header


def check_dtype(dtype: str) -> None:
    """Raise `ValueError` if ``dtype`` is none of `OUTPUT_DTYPES`."""
    if dtype not in OUTPUT_DTYPES:
        raise ValueError(f"dtype must be one of {', '.join(OUTPUT_DTYPES)}, got {dtype!r}")


def _check_storable(volume: Volume, dtype: str) -> None:
    check_dtype(dtype)
    if spatial_shape(volume.header) != volume.shape:
        raise ValueError("header and data differ in shape: regridded makes them agree")
    if not np.isfinite(volume.data).all():
        raise ValueError("intensities must be finite")


def _unscaled_dtype(path: Path, kind: Format, header: Nifti1Header, dtype: str) -> np.dtype:
    """Type of the numbers in a format without slope."""
    source: np.dtype = header.get_data_dtype().newbyteorder("=")
    is_whole = source.kind in "iu" and slope_intercept(header) == (1, 0)
    if dtype == "input":
        if not is_whole:
            wide = source.itemsize > (4 if source.kind == "f" else 2)
            return np.dtype(np.float64 if wide and "float64" in kind.dtypes else np.float32)
        if source.name in kind.dtypes:
            return source
        wider = (name for name in _BY_WIDTH if name in kind.dtypes)
        return np.dtype(next((name for name in wider if np.can_cast(source, name)), "float32"))
    wanted = np.dtype(dtype)
    if dtype not in kind.dtypes:
        raise OutputError(
            f"{path}: {kind.label} does not hold {dtype}; choose one of "
            f"{', '.join(sorted(kind.dtypes))}, or end its name in .nii.gz"
        )
    if wanted.kind in "iu" and not (is_whole and np.can_cast(source, wanted)):
        scaled = "" if is_whole or source.kind == "f" else "scaled "
        raise OutputError(
            f"{path}: {kind.label} has no slope, without which {dtype} cannot hold what was "
            f"{scaled}{source.name}; choose --dtype input or float32, or end its name in .nii.gz"
        )
    return wanted


def _files_written(path: Path) -> list[Path]:
    if path.name.lower().endswith((".hdr", ".img")):
        return list(pair_names(path))
    beside = voxels_name(path)
    return [path] if beside is None else [path, beside]


def _files_read(path: Path) -> list[Path]:
    """Files that a source consists of, as far as that can be told."""
    name = path.name.lower()
    try:
        if name.endswith((".hdr", ".img", ".hdr.gz", ".img.gz")):
            return list(pair_of(path))
    except VolumeError:
        return [path]
    if name.endswith((".mhd", ".nhdr")):
        return [path, *_named_in(path)]
    return [path]


def _named_in(path: Path) -> list[Path]:
    """Files beside a text header that it names as those of its voxels."""
    try:
        with path.open("rb") as file:
            lines = file.read(1 << 16).decode("utf-8", "replace").splitlines()
        named = {line.replace("=", ":").partition(":")[2].strip() for line in lines}
        return [other for other in path.parent.iterdir() if other.name in named]
    except OSError:
        return []
