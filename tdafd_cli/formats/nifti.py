"""NIfTI files, single and in pairs, and Analyze pairs: read, and written volume by volume."""

import logging
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from nibabel import imageglobals
from nibabel.fileholders import FileHolder
from nibabel.nifti1 import Nifti1Header
from nibabel.spatialimages import HeaderDataError
from nibabel.spm2analyze import Spm2AnalyzeImage
from nibabel.wrapstruct import WrapStructError

from tdafd_cli.errors import VolumeError
from tdafd_cli.formats.scan import ReadVolumes, Scan, stored_reader
from tdafd_cli.formats.storage import Sink, intensity_dtype, write_stored
from tdafd_cli.formats.streams import Stream, check_claim, compressed, naming, reading
from tdafd_cli.output import replacing
from tdafd_cli.volumes.nifti_header import (
    as_pair,
    as_single,
    check_affine,
    check_shape,
    new_header,
    read_header,
    slope_intercept,
    spatial_shape,
)


def open_nifti(path: Path, *, part: str | None = None) -> Scan:
    """Open a NIfTI-1 or NIfTI-2 file, gzipped or not, whatever its name.

    Any integer or float type, byte order, slope and intercept, orientation and voxel size will
    do. Trailing dimensions of length 1 are dropped.

    Parameters
    ----------
    path : Path
    part : str, optional
        One of `storage.PARTS`, for complex numbers.

    Raises
    ------
    VolumeError
        The file cannot be read, is of another format, or is damaged; it has not 3 or 4 dimensions,
        one real number per voxel, or an invertible affine.
    """
    with reading(path) as stream:
        header = read_header(stream)
        count = _volume_count(header)
        dtype = intensity_dtype(header.get_data_dtype(), part)
        _check_claim(stream, header, count)
    return Scan(_first_only(header, dtype), count, _reader(path, header, part), path)


def open_pair(path: Path, *, part: str | None = None) -> Scan:
    """Open a NIfTI pair by the name of its header or of its voxels, as `open_nifti` does."""
    header_path, voxels_path = pair_of(path)
    with reading(header_path) as stream:
        header = read_header(stream)
        count = _volume_count(header)
        dtype = intensity_dtype(header.get_data_dtype(), part)
    with reading(voxels_path) as stream:
        _check_claim(stream, header, count)
    scan_header = as_single(_first_only(header, dtype))
    return Scan(scan_header, count, _reader(voxels_path, header, part), path)


def open_analyze(path: Path, *, part: str | None = None) -> Scan:
    """Open an Analyze 7.5 or SPM pair, as `open_nifti` does.

    Its place in the world is that of SPM's ``.mat`` file or origin, if there is one; otherwise the
    orientation is unknown, and taken for radiological, as it is by convention.
    """
    header_path, voxels_path = pair_of(path)
    with naming(header_path):
        image, is_placed = _analyze_image(header_path, voxels_path)
        spm, affine = image.header, np.asarray(image.affine, np.float64)
        check_shape(spm.get_data_shape())
        stored_dtype = spm.get_data_dtype()
        dtype = intensity_dtype(stored_dtype, part)
        check_affine(affine, name="affine", advice="convert the scan anew")
    shape = spm.get_data_shape()
    header = new_header(shape[:3], dtype, affine, code=2 if is_placed else 0)
    scaling = float(image.dataobj.slope), float(image.dataobj.inter)
    header.set_slope_inter(*(scaling if part is None else (1, 0)))
    if not is_placed:
        header["pixdim"][1:4] = spm.get_zooms()[:3]
    header["pixdim"][4] = spm["pixdim"][4]
    with reading(voxels_path) as stream:
        _check_claim(stream, spm, _volume_count(spm))
    read = _reader(voxels_path, spm, part, scaling)
    return Scan(header, _volume_count(spm), read, path, "analyze")


def pair_of(path: Path) -> tuple[Path, Path]:
    """Header and voxels of a pair, whichever is named, gzipped or not, in letters of any case.

    Raises
    ------
    VolumeError
        One of them is missing.
    """
    packed = path.suffix if path.suffix.lower() == ".gz" else ""
    stem = path.name[: len(path.name) - len(packed)]
    stem, _, ending = stem.rpartition(".")
    wanted = "img" if ending.lower() == "hdr" else "hdr"
    names = {f"{stem}.{wanted}{suffix}".lower() for suffix in ("", ".gz")}
    with naming(path):
        others = [other for other in sorted(path.parent.iterdir()) if other.name.lower() in names]
        exact = [other for other in others if other.name.startswith(f"{stem}.")]
        if not exact:
            raise VolumeError(f"half of a .hdr/.img pair, and {stem}.{wanted} is not beside it")
    return (path, exact[0]) if wanted == "img" else (exact[0], path)


def write_nifti(
    path: Path,
    header: Nifti1Header,
    affine: np.ndarray,
    kept: Mapping[str, str],
    volumes: Iterable[np.ndarray],
) -> None:
    """Write a NIfTI file, gzipped if its name ends in ``.gz``, one volume after the other.

    Equal volumes make equal bytes.

    Parameters
    ----------
    path : Path
    header : Nifti1Header
        With shape, type, slope and intercept as they are to be.
    affine, kept
        Not needed, as the header has all.
    volumes : iterable of (I, J, K) arrays
        Intensities; of these one is held at a time.
    """
    with replacing(path) as file, compressed(file, path) as stream:
        write_nifti_stream(stream, header, volumes)


def write_nifti_stream(stream: Sink, header: Nifti1Header, volumes: Iterable[np.ndarray]) -> None:
    """Write what `write_nifti` does, not compressed, into a stream."""
    header = as_single(header).copy()
    header["vox_offset"] = 0  # nibabel then leaves the room that the extensions need
    header.write_to(stream)
    _write_volumes(stream, header, volumes)


def write_pair(
    path: Path,
    header: Nifti1Header,
    affine: np.ndarray,
    kept: Mapping[str, str],
    volumes: Iterable[np.ndarray],
) -> None:
    """Write a NIfTI pair: as `write_nifti`, the header in ``.hdr`` and the voxels in ``.img``."""
    header_path, voxels_path = pair_names(path)
    with ExitStack() as stack:
        header_file = stack.enter_context(replacing(header_path))  # the last to be in its place
        voxels_file = stack.enter_context(replacing(voxels_path))
        header = as_pair(header)
        header.write_to(header_file)
        _write_volumes(voxels_file, header, volumes)


def pair_names(path: Path) -> tuple[Path, Path]:
    """Names of header and voxels to write, given either; letters keep their case."""
    other = ".img" if path.suffix.lower() == ".hdr" else ".hdr"
    beside = path.with_suffix(other.upper() if path.suffix.isupper() else other)
    return (path, beside) if other == ".img" else (beside, path)


def _volume_count(header: Nifti1Header) -> int:
    shape = header.get_data_shape()
    return int(shape[3]) if len(shape) > 3 else 1


def _first_only(header: Nifti1Header, dtype: np.dtype) -> Nifti1Header:
    """Header of one volume, whose stored numbers are of a type."""
    count = _volume_count(header)
    if count == 1 and header.get_data_dtype() == dtype:
        return header
    header = header.copy()
    if count > 1:
        header["dim"] = [3, *spatial_shape(header), 1, 1, 1, 1]
    if header.get_data_dtype() != dtype:
        header.set_data_dtype(dtype)
        header["scl_slope"], header["scl_inter"] = 1, 0
    return header


def _check_claim(stream: Stream, header: Nifti1Header, count: int) -> None:
    shape, dtype = spatial_shape(header), header.get_data_dtype()
    check_claim(shape, dtype, stream, offset=header.get_data_offset(), volumes=count)


def _reader(
    path: Path,
    header: Nifti1Header,
    part: str | None,
    scaling: tuple[float, float] | None = None,
) -> ReadVolumes:
    return stored_reader(
        path,
        spatial_shape(header),
        header.get_data_dtype(),
        offset=header.get_data_offset(),
        scaling=scaling or slope_intercept(header),
        count=_volume_count(header),
        part=part,
    )


def _write_volumes(stream: Sink, header: Nifti1Header, volumes: Iterable[np.ndarray]) -> None:
    for data in volumes:
        write_stored(stream, data, header.get_data_dtype(), *slope_intercept(header))


@contextmanager
def _unlogged() -> Iterator[None]:
    """What nibabel repairs in a header is no news, as in `read_header`."""
    level = imageglobals.logger.level
    imageglobals.logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        imageglobals.logger.setLevel(level)


def _analyze_image(header_path: Path, voxels_path: Path) -> tuple[Any, bool]:
    """Image, no voxel of which is read, and whether its affine is more than a convention."""
    mat_path = header_path.with_suffix(".mat")
    if header_path.suffix.lower() == ".gz":
        mat_path = header_path.with_suffix("").with_suffix(".mat")
    files = {"header": FileHolder(str(header_path)), "image": FileHolder(str(voxels_path))}
    files["mat"] = FileHolder(str(mat_path))
    try:
        with _unlogged(), np.errstate(all="ignore"):
            image = Spm2AnalyzeImage.from_file_map(files, mmap=False)
    except (HeaderDataError, WrapStructError, ValueError, OverflowError, TypeError) as error:
        reason = " ".join(str(error).split())
        raise VolumeError(
            f"unusable Analyze header ({reason}); repair it or export again"
        ) from error
    return image, mat_path.is_file() or bool(np.any(image.header["origin"][:3]))
