"""A scan: what one file or folder holds, a volume or many on one grid, read one at a time."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from nibabel.nifti1 import Nifti1Header

from tdafd_cli.errors import VolumeError
from tdafd_cli.formats.storage import check_intensities, intensities
from tdafd_cli.formats.streams import naming, read_stored, reading
from tdafd_cli.volumes.nifti_header import check_one_volume, spatial_shape
from tdafd_cli.volumes.volume import Volume

ReadVolumes = Callable[[Sequence[int]], Iterator[np.ndarray]]
"""Intensities (I, J, K) of the volumes of ascending numbers, each read as it is asked for."""


@dataclass(frozen=True, eq=False)
class Scan:
    """What one file or folder holds: a volume, or many on one grid.

    Attributes
    ----------
    header : Nifti1Header
        Of a volume, as in `Volume`; ``pixdim[4]`` is the time from one volume to the next.
    count : int
        How many volumes there are.
    read : callable
        Reads them. Errors name the file.
    path : Path
        What was opened.
    format, kept
        As in `Volume`.
    placed : (4, 4) array, optional
        Affine, where it is known better than NIfTI's float32 holds it.
    """

    header: Nifti1Header = field(repr=False)
    count: int
    read: ReadVolumes = field(repr=False)
    path: Path
    format: str = "nifti"
    kept: Mapping[str, str] = field(default_factory=dict, repr=False)
    placed: np.ndarray | None = field(default=None, repr=False)

    @property
    def affine(self) -> np.ndarray:
        """Maps voxel indices (I, J, K) to RAS+ coordinates: (4, 4)."""
        if self.placed is not None:
            return self.placed
        return np.array(self.header.get_best_affine(), dtype=np.float64)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Voxels of a volume along I, J and K."""
        return spatial_shape(self.header)

    def volumes(self, numbers: Sequence[int] | None = None) -> Iterator[Volume]:
        """Volumes of ascending numbers, all by default, of which one is held at a time.

        Raises
        ------
        VolumeError
            One is damaged, holds NaN or infinite intensities, or but one intensity.
        """
        numbers = range(self.count) if numbers is None else numbers
        for number, data in zip(numbers, self.read(numbers), strict=True):
            name = str(self.path) if self.count == 1 else f"{self.path}, volume {number}"
            try:
                check_intensities(data)
            except VolumeError as error:
                raise VolumeError(f"{name}: {error}") from None
            yield self._volume(data)

    def only_volume(self, numbers: Sequence[int] | None = None) -> Volume:
        """The volume of a scan that has no more than one, or the one that is meant.

        Raises
        ------
        VolumeError
            There are more, or the volume cannot be used.
        """
        numbers = range(self.count) if numbers is None else numbers
        with naming(self.path):
            check_one_volume((*self.shape, len(numbers)))
        (volume,) = self.volumes(numbers)
        return volume

    def _volume(self, data: np.ndarray) -> Volume:
        return Volume(data, self.affine, self.header, self.path, self.format, self.kept)


def stored_reader(
    path: Path,
    shape: tuple[int, int, int],
    dtype: np.dtype,
    *,
    offset: int,
    scaling: tuple[float, float] = (1.0, 0.0),
    count: int = 1,
    part: str | None = None,
) -> ReadVolumes:
    """Reader of volumes that stand one after the other in a file, gzipped or not.

    Parameters
    ----------
    path : Path
    shape : (I, J, K)
    dtype : dtype
        Of the stored numbers.
    offset : int
        Byte of the decompressed file at which the first volume starts.
    scaling : (float, float)
        Slope and intercept.
    count : int
        How many volumes there are: after the last, gzip's checksum is compared.
    part : str, optional
        Of complex numbers.
    """
    size = math.prod(shape) * dtype.itemsize

    def read(numbers: Sequence[int]) -> Iterator[np.ndarray]:
        with reading(path) as stream:
            for number in numbers:
                stored = read_stored(stream, shape, dtype, offset=offset + number * size)
                if number == count - 1:
                    stream.read(1)
                yield intensities(stored, *scaling, part)

    return read
