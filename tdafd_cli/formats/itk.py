"""NRRD and MetaImage through SimpleITK, whose world is LPS where ours is RAS."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from nibabel.nifti1 import Nifti1Header

from tdafd_cli.errors import OutputError, VolumeError
from tdafd_cli.formats.scan import Scan
from tdafd_cli.formats.storage import intensities, intensity_dtype, to_stored
from tdafd_cli.formats.streams import check_claim, check_memory, naming, reading
from tdafd_cli.output import replacing_all
from tdafd_cli.volumes.nifti_header import check_affine, check_shape, new_header

LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
MOST_HEADER_BYTES = 1 << 20
_IMAGE_IO = {"nrrd": "NrrdImageIO", "metaimage": "MetaImageIO"}
_ADVICE = "set the directions in the header, or convert the scan anew"
_NOT_FINITE = re.compile(r"\b[+-]?(nan|inf)", re.IGNORECASE)  # over which ITK prints matrices
# Fields that tell of another grid, of one slice, or of the program that wrote them: NIfTI's, as ITK
# copies them, DICOM's tags, and ITK's own.
_STALE = re.compile(
    r"ITK_|NRRD_|\d{4}\|\d{4}|(dim|pixdim|intent_p\d|quatern_[bcd]|qoffset_[xyz]|srow_[xyz]|"
    r"[qs]form_\w+|qfac|qto_xyz|sto_xyz|scl_\w+|slice_\w+|dim_info|vox_offset|datatype|bitpix|"
    r"nifti_type|intent_\w+|toffset|xyzt_units|cal_max|cal_min|aux_file|descrip)(\[\d\])?$"
)


def open_nrrd(path: Path, *, part: str | None = None) -> Scan:
    """Open an NRRD file, its voxels in it or beside it.

    Parameters
    ----------
    path : Path
    part : str, optional
        One of `storage.PARTS`, for complex numbers.

    Raises
    ------
    VolumeError
        The file cannot be read or is damaged; it has not 3 or 4 dimensions, one real number per
        voxel, or an invertible affine.
    """
    with reading(path) as stream:
        text = stream.read(MOST_HEADER_BYTES)
    fields, kept, length = _nrrd_fields(text)
    with naming(path), itk_errors() as sitk:
        if _NOT_FINITE.search(fields.get("spacedirections", "") + fields.get("spaceorigin", "")):
            raise VolumeError(f"the space directions or the origin are no numbers; {_ADVICE}")
        voxels = _nrrd_voxels(path, fields, length)
        image = image_reader(sitk, path, "NrrdImageIO")
        image.ReadImageInformation()
        components = image.GetNumberOfComponents()
        stored = pixel_dtype(sitk, image.GetPixelID())
        if stored is None or (components > 1 and stored.kind != "c"):
            raise VolumeError(
                f"expected one number per voxel, got {components}: a colour, or directions of a "
                "diffusion scan; split it first, or convert it with 3D Slicer"
            )
        check_shape(image.GetSize())
        dtype = intensity_dtype(stored, part)
        shape, count = image.GetSize()[:3], int(np.prod(image.GetSize()[3:]))
        affine = itk_affine(image.GetSpacing(), image.GetOrigin(), image.GetDirection())
        check_affine(affine, name="space directions", advice=_ADVICE)
        encoding = fields.get("encoding", "raw").lower()
        _check_nrrd_claim(voxels, encoding, shape, stored, count)
    header = new_header(shape, dtype, affine)

    def read(numbers: Sequence[int]) -> Iterator[np.ndarray]:
        with naming(path), itk_errors() as sitk:
            image = image_reader(sitk, path, "NrrdImageIO").Execute()
        voxels = sitk.GetArrayViewFromImage(image).reshape(count, *shape[::-1])
        for number in numbers:
            yield intensities(voxels[number].T, part=part)

    return Scan(header, count, read, path, "nrrd", current_fields(kept), affine)


def write_nrrd(
    path: Path,
    header: Nifti1Header,
    affine: np.ndarray,
    kept: Mapping[str, str],
    volumes: Iterable[np.ndarray],
) -> None:
    """Write an NRRD file, its voxels gzipped; those of ``.nhdr`` stand in ``.raw.gz`` beside it."""
    _write(path, "nrrd", header, affine, kept, volumes)


def write_metaimage(
    path: Path,
    header: Nifti1Header,
    affine: np.ndarray,
    kept: Mapping[str, str],
    volumes: Iterable[np.ndarray],
) -> None:
    """Write a MetaImage, its voxels compressed; those of ``.mhd`` stand in ``.zraw`` beside it."""
    _write(path, "metaimage", header, affine, kept, volumes)


def voxels_name(path: Path) -> Path | None:
    """File beside a header that holds its voxels, as it is written; None where it has them."""
    suffix = {".nhdr": ".raw.gz", ".mhd": ".zraw"}.get(path.suffix.lower())
    return path.with_name(path.stem + suffix) if suffix else None


def named_in(path: Path) -> list[Path]:
    """Files beside a text header that it names as those of its voxels."""
    try:
        with path.open("rb") as file:
            lines = file.read(1 << 16).decode("utf-8", "replace").splitlines()
        named = {line.replace("=", ":").partition(":")[2].strip() for line in lines}
        return [other for other in path.parent.iterdir() if other.name in named]
    except OSError:
        return []


def itk_affine(
    spacing: Sequence[float], origin: Sequence[float], direction: Sequence[float]
) -> np.ndarray:
    """Affine (4, 4) from voxel indices to RAS+ of an ITK image of at least 3 dimensions."""
    dimension = len(spacing)
    affine = np.eye(4)
    with np.errstate(all="ignore"):  # what is not finite is refused by `check_affine`
        affine[:3, :3] = np.reshape(direction, (dimension, dimension))[:3, :3] * spacing[:3]
        affine[:3, 3] = origin[:3]
        return np.asarray(LPS_TO_RAS @ affine)


def current_fields(fields: Mapping[str, str]) -> dict[str, str]:
    """Those fields of a header that still hold on another grid."""
    return {name: value for name, value in fields.items() if not _STALE.match(name)}


@contextmanager
def itk_errors() -> Iterator[ModuleType]:
    """SimpleITK, imported as it is needed, its errors in one line and its warnings unsaid."""
    import SimpleITK as sitk  # noqa: N813 (its usual name)

    warn = sitk.ProcessObject.GetGlobalWarningDisplay()
    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    try:
        yield sitk
    except RuntimeError as error:
        raise VolumeError(
            f"damaged, or of a kind that is not read here ({_plain(error)}); export it again"
        ) from error
    except (MemoryError, OverflowError) as error:
        raise VolumeError("too large for the memory; crop it first") from error
    finally:
        sitk.ProcessObject.SetGlobalWarningDisplay(warn)


def _plain(error: RuntimeError) -> str:
    """What SimpleITK's error of many lines says in the end."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    last = re.sub(r"^(ITK ERROR: )?\w+\(0x[0-9a-f]+\): ", "", lines[-1] if lines else "")
    words = re.sub(r"^.*(ITK|sitk::)\s?ERROR:?\s*", "", last)
    return " ".join(words.split())[:160] or type(error).__name__


def image_reader(sitk: ModuleType, path: Path, image_io: str) -> Any:
    """Reader of one file by one of ITK's readers, whatever its name."""
    reader = sitk.ImageFileReader()
    reader.SetImageIO(image_io)
    reader.SetFileName(str(path))
    return reader


def pixel_dtype(sitk: ModuleType, pixel: int) -> np.dtype | None:
    """Type of one number per voxel, as numpy has it; None of vectors and labels."""
    types = {
        sitk.sitkUInt8: "u1",
        sitk.sitkInt8: "i1",
        sitk.sitkUInt16: "u2",
        sitk.sitkInt16: "i2",
        sitk.sitkUInt32: "u4",
        sitk.sitkInt32: "i4",
        sitk.sitkUInt64: "u8",
        sitk.sitkInt64: "i8",
        sitk.sitkFloat32: "f4",
        sitk.sitkFloat64: "f8",
        sitk.sitkComplexFloat32: "c8",
        sitk.sitkComplexFloat64: "c16",
    }
    return np.dtype(types[pixel]) if pixel in types else None


def _nrrd_fields(text: bytes) -> tuple[dict[str, str], dict[str, str], int]:
    """Fields of the format, keys with values, and bytes of the header."""
    end = re.search(rb"\r?\n\r?\n", text)
    length = end.end() if end else len(text)
    fields: dict[str, str] = {}
    kept: dict[str, str] = {}
    for line in text[:length].decode("utf-8", "replace").splitlines()[1:]:
        if line.startswith("#"):
            continue
        name, found, value = line.partition(":=")
        if found:
            kept[name] = value
            continue
        name, _, value = line.partition(": ")
        fields[name.strip().lower().replace(" ", "")] = value.strip()
    return fields, kept, length


def _nrrd_voxels(path: Path, fields: Mapping[str, str], length: int) -> tuple[Path, int] | None:
    """File of the voxels and the byte they start at; None where there are several."""
    name = fields.get("datafile")
    if name is None:
        return path, length
    if name.startswith("LIST") or "%" in name:
        return None
    place = path.parent / name
    try:
        is_file = place.is_file()
    except (OSError, ValueError):  # a name too long, or with a null character
        is_file = False
    if not is_file:
        raise VolumeError(f"its voxels, {place.name[:80]}, are not beside it; copy them there")
    return place, 0


def _check_nrrd_claim(
    voxels: tuple[Path, int] | None,
    encoding: str,
    shape: tuple[int, ...],
    dtype: np.dtype,
    count: int,
) -> None:
    check_memory((*shape[:2], shape[2] * count), dtype)  # all volumes are read at once
    if voxels is None or encoding not in ("raw", "gz", "gzip"):
        return
    place, offset = voxels
    with place.open("rb") as stream:
        deflated = encoding != "raw"
        check_claim(shape, dtype, stream, offset=offset, volumes=count, deflated=deflated)


def _write(
    path: Path,
    kind: str,
    header: Nifti1Header,
    affine: np.ndarray,
    kept: Mapping[str, str],
    volumes: Iterable[np.ndarray],
) -> None:
    import SimpleITK as sitk  # noqa: N813 (its usual name)

    (data,) = volumes
    image = sitk.GetImageFromArray(to_stored(data, header.get_data_dtype()).T)
    lps = LPS_TO_RAS @ affine
    sizes = np.linalg.norm(lps[:3, :3], axis=0)
    image.SetSpacing(sizes.tolist())
    image.SetOrigin(lps[:3, 3].tolist())
    image.SetDirection((lps[:3, :3] / sizes).ravel().tolist())
    for name, value in kept.items():
        image.SetMetaData(name, value)
    beside = voxels_name(path)
    with replacing_all(path) as folder:
        # SimpleITK knows suffixes in lower case alone.
        written = folder / (path.stem + path.suffix.lower())
        writer = sitk.ImageFileWriter()
        writer.SetImageIO(_IMAGE_IO[kind])
        writer.SetFileName(str(written))
        writer.SetUseCompression(True)
        writer.SetCompressionLevel(1)
        try:
            writer.Execute(image)
        except RuntimeError as error:
            raise OutputError(f"{path}: cannot be written: {_plain(error)}") from error
        assert beside is None or (folder / beside.name).is_file()
        written.rename(folder / path.name)
