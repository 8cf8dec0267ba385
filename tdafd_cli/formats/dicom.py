"""Series of DICOM images in a folder, put together to volumes; read alone, never written."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import numpy as np

from tdafd_cli.errors import VolumeError, size_text
from tdafd_cli.formats.itk import image_reader, itk_affine, itk_errors, pixel_dtype
from tdafd_cli.formats.scan import Scan
from tdafd_cli.formats.storage import intensities
from tdafd_cli.formats.streams import check_memory, naming
from tdafd_cli.volumes.nifti_header import check_affine, new_header

MOST_LISTED = 12
"""Series that an error names."""
UNEVEN = 0.02
"""Part of the distance between slices by which one may be off its place: scanners round."""
_CONVERT = "convert it with `dcm2niix FOLDER`"
_PREAMBLE_BYTES = 132
# Tags: https://dicom.nema.org/medical/dicom/current/output/html/part06.html.
_SERIES_UID, _SERIES_NUMBER, _MODALITY = "0020|000e", "0020|0011", "0008|0060"
_POSITION, _ORIENTATION, _INSTANCE = "0020|0032", "0020|0037", "0020|0013"
_ECHO_TIME, _TEMPORAL_POSITION, _REPETITION_TIME = "0018|0081", "0020|0100", "0018|0080"
_IMAGE_TYPE, _FRAMES = "0008|0008", "0028|0008"
_TAGS: tuple[str, ...] = (_SERIES_UID, _SERIES_NUMBER, _MODALITY, _POSITION, _ORIENTATION)
_TAGS += (_INSTANCE, _ECHO_TIME, _TEMPORAL_POSITION, _REPETITION_TIME, _IMAGE_TYPE, _FRAMES)


@dataclass(frozen=True)
class _Image:
    """One file: its size along I and J, its place, and what its header says."""

    path: Path
    size: tuple[int, ...]
    dtype: np.dtype | None
    affine: np.ndarray
    tags: Mapping[str, str]

    @property
    def kind(self) -> str:
        """What is shown, in the vendor's word: M or P, say; the third value of Image Type."""
        values = self.tags.get(_IMAGE_TYPE, "").split("\\")
        return values[2].strip() if len(values) > 2 else ""

    def number(self, tag: str) -> float:
        """Number in a tag, 0 where there is none."""
        try:
            return float(self.tags.get(tag, "0") or 0)
        except ValueError:
            return 0.0


def open_dicom(path: Path, *, series: str | None = None, part: str | None = None) -> Scan:
    """Open one series of the DICOM files anywhere below a folder.

    Images at the same place are volumes one after the other, by echo time, temporal position and
    number. The rescale slope and intercept are applied.

    Parameters
    ----------
    path : Path
    series : str, optional
        Number of the series, or its UID; needed where the folder holds several.
    part : str, optional
        Refused, as the numbers are real.

    Raises
    ------
    VolumeError
        There is no such series, or several and none was named; its images do not make a volume:
        some are missing, differ in size or orientation, or hold many frames.
    """
    if not path.is_dir():
        raise VolumeError(f"{path}: one image of a DICOM series; name its folder")
    with naming(path), itk_errors() as sitk:
        if part is not None:
            raise VolumeError(f"DICOM series hold real numbers, and no {part} part; drop --part")
        images = [_image(sitk, file) for file in _dicom_files(path)]
        volumes, affine = _volumes(_one_series(images, series))
        dtype = _common_dtype(volumes)
        i, j = volumes[0][0].size[:2]
        shape = (i, j, len(volumes[0]))
        check_affine(affine, name="directions of the images", advice=_CONVERT)
        check_memory(shape, dtype)
    header = new_header(shape, dtype, affine)
    if len(volumes) > 1:
        header["pixdim"][4] = volumes[0][0].number(_REPETITION_TIME) / 1000

    def read(numbers: Sequence[int]) -> Iterator[np.ndarray]:
        for number in numbers:
            stored = np.empty(shape, dtype, order="F")
            for index, image in enumerate(volumes[number]):
                with naming(image.path), itk_errors() as sitk:
                    stored[..., index] = _pixels(sitk, image)
            yield intensities(stored)

    return Scan(header, len(volumes), read, path, "dicom", placed=affine)


def _dicom_files(folder: Path) -> list[Path]:
    files = [path for path in sorted(folder.rglob("*")) if path.is_file() and is_dicom(path)]
    if not files:
        raise VolumeError("a folder without DICOM files; name one volume in it")
    return files


def is_dicom(path: Path) -> bool:
    """Whether a file starts as DICOM files do."""
    with path.open("rb") as file:
        return file.read(_PREAMBLE_BYTES).endswith(b"DICM")


def _image(sitk: ModuleType, path: Path) -> _Image:
    reader = image_reader(sitk, path, "GDCMImageIO")
    try:
        reader.ReadImageInformation()
    except RuntimeError as error:
        raise VolumeError(
            f"{path.name} is damaged, or of a kind that is not read here; copy it again, or "
            f"{_CONVERT}"
        ) from error
    is_grey = reader.GetNumberOfComponents() == 1
    dtype = pixel_dtype(sitk, reader.GetPixelID()) if is_grey else None
    tags = {tag: reader.GetMetaData(tag).strip() for tag in _TAGS if reader.HasMetaDataKey(tag)}
    affine = itk_affine(reader.GetSpacing(), reader.GetOrigin(), reader.GetDirection())
    return _Image(path, tuple(reader.GetSize()), dtype, affine, tags)


def _one_series(images: list[_Image], wanted: str | None) -> list[_Image]:
    """Images of the series that is meant."""
    by_uid: dict[str, list[_Image]] = defaultdict(list)
    for image in images:
        by_uid[image.tags.get(_SERIES_UID, "")].append(image)
    if wanted is None and len(by_uid) == 1:
        return images
    numbers = {uid: group[0].tags.get(_SERIES_NUMBER, "") for uid, group in by_uid.items()}
    found = [uid for uid in by_uid if wanted in (uid, numbers[uid])] if wanted else []
    if len(found) == 1:
        return by_uid[found[0]]
    twice = len(set(numbers.values())) < len(numbers)
    listed = [
        f"{uid if twice else numbers[uid]} ({group[0].tags.get(_MODALITY, 'unknown')}, "
        f"{len(group)} images of {size_text(group[0].size[:2])})"
        for uid, group in sorted(by_uid.items(), key=lambda item: item[1][0].number(_SERIES_NUMBER))
    ]
    more = f", and {len(listed) - MOST_LISTED} more" if len(listed) > MOST_LISTED else ""
    what = f"no series {wanted} among" if wanted else "several series:"
    raise VolumeError(
        f"{what} {', '.join(listed[:MOST_LISTED])}{more}; name one with --series "
        f"{'UID' if twice else 'NUMBER'}"
    )


def _volumes(images: list[_Image]) -> tuple[list[list[_Image]], np.ndarray]:
    """Slices of each volume in the order of space, and the affine of all of them."""
    _check_alike(images)
    axes = images[0].affine[:3, :2]
    normal = np.cross(axes[:, 0], axes[:, 1])
    normal /= np.linalg.norm(normal)
    heights = np.array([image.affine[:3, 3] @ normal for image in images])
    # Places within a hundredth of a millimetre are one.
    places: dict[int, list[_Image]] = defaultdict(list)
    for image, height in zip(images, np.rint(100 * heights), strict=True):
        places[int(height)].append(image)
    slices = [sorted(places[height], key=_time) for height in sorted(places)]
    if len(slices) < 2:
        raise VolumeError("its images lie in one place, which makes no volume; name another series")
    counts = {len(images) for images in slices}
    if len(counts) > 1:
        raise VolumeError(
            f"{min(counts)} to {max(counts)} images at each of {len(slices)} places, so that some "
            f"are missing or do not belong to the series; export it again, or {_CONVERT}"
        )
    origins = np.array([images[0].affine[:3, 3] for images in slices])
    step = (origins[-1] - origins[0]) / (len(slices) - 1)
    off = np.linalg.norm(origins - origins[0] - np.outer(np.arange(len(slices)), step), axis=1)
    if off.max() > UNEVEN * np.linalg.norm(step):
        raise VolumeError(
            f"slices are up to {off.max():.3g} mm off even spacing of {np.linalg.norm(step):.3g} "
            f"mm, so that some are missing; export the series again, or {_CONVERT}"
        )
    affine = np.eye(4)
    affine[:3, :2], affine[:3, 2], affine[:3, 3] = axes, step, origins[0]
    return [list(volume) for volume in zip(*slices, strict=True)], affine


def _check_alike(images: list[_Image]) -> None:
    first = images[0]
    if len({image.kind for image in images}) > 1:
        raise VolumeError(
            f"images of several kinds, as magnitude and phase, in one series; {_CONVERT}"
        )
    for image in images:
        if image.dtype is None:
            raise VolumeError("expected one number per voxel, got colours; name another series")
        is_mosaic = "MOSAIC" in image.tags.get(_IMAGE_TYPE, "").upper()
        if image.number(_FRAMES) > 1 or is_mosaic or any(n > 1 for n in image.size[2:]):
            raise VolumeError(f"its files hold many slices each; {_CONVERT}")
        if _POSITION not in image.tags or _ORIENTATION not in image.tags:
            raise VolumeError(f"images without a place in the scanner; {_CONVERT}")
        if image.size != first.size:
            raise VolumeError("images of several sizes; export the series again, or name another")
        if not np.allclose(image.affine[:3, :2], first.affine[:3, :2], atol=1e-3):
            raise VolumeError(
                "images in several orientations or of several pixel sizes, as of a localiser; name "
                "another series"
            )
        if not np.isfinite(image.affine).all() or not image.affine[:3, :2].any(axis=0).all():
            raise VolumeError(f"images without a valid place in the scanner; {_CONVERT}")


def _time(image: _Image) -> tuple[float, ...]:
    return (
        image.number(_ECHO_TIME),
        image.number(_TEMPORAL_POSITION),
        image.number(_INSTANCE),
    )


def _common_dtype(volumes: list[list[_Image]]) -> np.dtype:
    """Type that the images have; float32 where a slope made fractions of them, or they differ."""
    types = {image.dtype for volume in volumes for image in volume}
    (common,) = types if len(types) == 1 else (None,)
    return common if common is not None and common.kind in "iu" else np.dtype(np.float32)


def _pixels(sitk: ModuleType, image: _Image) -> np.ndarray:
    pixels = sitk.GetArrayFromImage(image_reader(sitk, image.path, "GDCMImageIO").Execute())
    stored: np.ndarray = pixels.reshape(image.size[1], image.size[0]).T
    return stored
