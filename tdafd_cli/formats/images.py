"""nibabel images in memory, made into volumes and out of them."""

import zlib
from io import BytesIO
from pathlib import Path

import numpy as np
from nibabel.arrayproxy import ArrayProxy
from nibabel.nifti1 import Nifti1Header, Nifti1Image
from nibabel.nifti2 import Nifti2Header, Nifti2Image
from nibabel.spatialimages import HeaderDataError, SpatialImage

from tdafd_cli.errors import VolumeError
from tdafd_cli.formats.files import write_stream
from tdafd_cli.formats.storage import check_intensities, intensities, intensity_dtype
from tdafd_cli.volumes.nifti_header import check_header, check_one_volume, spatial_shape
from tdafd_cli.volumes.volume import Volume

_STORABLE = {np.dtype(bool): np.uint8, np.dtype(np.float16): np.float32}
"""Types of arrays that NIfTI has no code for, and what holds them exactly."""


def volume_of(image: SpatialImage) -> Volume:
    """Volume of an image, under the checks that files pass in `read_volume`.

    Parameters
    ----------
    image : Nifti1Image or Nifti2Image
        Left as it is. Data that nibabel has not read yet is read as the file stores it, so that
        the volume is that of the file, with the image's header. Of an array in memory the type
        counts as the stored one, whatever the header says: it would be rounded otherwise.

    Raises
    ------
    VolumeError
        As for `read_volume`, or the image is of another format.
    """
    name = image.get_filename()
    try:
        if not isinstance(image, Nifti1Image):
            raise VolumeError(
                f"a {type(image).__name__}, not a NIfTI image; convert it with "
                "nibabel.Nifti1Image.from_image"
            )
        header = _header_of(image)
        stored, slope, intercept = _stored(image)
        if not isinstance(image.dataobj, ArrayProxy):
            _set_dtype(header, stored.dtype)
        header["scl_slope"], header["scl_inter"] = slope, intercept
        check_header(header)
        intensity_dtype(header.get_data_dtype(), None)
        check_one_volume(header.get_data_shape())
        data = intensities(stored.reshape(spatial_shape(header)), slope, intercept)
        check_intensities(data)
    except VolumeError as error:
        raise VolumeError(f"{name or 'image'}: {error}") from error.__cause__
    affine = np.array(header.get_best_affine(), dtype=np.float64)
    return Volume(data, affine, header, Path(name) if name else None)


def image_of(volume: Volume, *, dtype: str = "input") -> Nifti1Image:
    """Image of a volume, as nibabel loads what `write_volume` would write of it.

    Returns
    -------
    Nifti1Image, or Nifti2Image if the volume was read from one. It holds the stored numbers, and
    nibabel applies slope and intercept when it is asked for intensities.
    """
    stream = BytesIO()
    write_stream(stream, volume, dtype=dtype)
    stream.seek(0)
    kind = Nifti2Image if isinstance(volume.header, Nifti2Header) else Nifti1Image
    image: Nifti1Image = kind.from_stream(stream)
    return image


def _header_of(image: Nifti1Image) -> Nifti1Header:
    """Copy of an image's header that agrees with its shape and affine, as nibabel saves it."""
    kind: type[Nifti1Image] = Nifti2Image if isinstance(image, Nifti2Image) else Nifti1Image
    try:
        with np.errstate(all="ignore"):
            header: Nifti1Header = kind(image.dataobj, image.affine, image.header).header
    except (HeaderDataError, ValueError, ArithmeticError) as error:
        reason = " ".join(str(error).split())
        raise VolumeError(f"unusable affine or header ({reason}); set a valid one") from error
    return header


def _stored(image: Nifti1Image) -> tuple[np.ndarray, float, float]:
    """Numbers as stored, and the slope and intercept that make intensities of them."""
    data = image.dataobj
    try:
        if isinstance(data, ArrayProxy):
            return data.get_unscaled(), float(data.slope), float(data.inter)
        return _storable(np.asanyarray(data)), 1.0, 0.0
    except (OSError, EOFError, zlib.error, ValueError) as error:
        reason = " ".join(str(error).split())
        raise VolumeError(f"its voxels cannot be read ({reason}); load it again") from error


def _storable(array: np.ndarray) -> np.ndarray:
    return array.astype(_STORABLE.get(array.dtype, array.dtype), copy=False)


def _set_dtype(header: Nifti1Header, dtype: np.dtype) -> None:
    try:
        header.set_data_dtype(dtype)
    except HeaderDataError as error:
        raise VolumeError(
            f"expected real numbers, got an array of {dtype}; convert it to float32"
        ) from error
