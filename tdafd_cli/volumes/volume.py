"""A volume: a 3D image with its affine and header."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from nibabel.nifti1 import Nifti1Header


@dataclass(frozen=True, eq=False)
class Volume:
    """A 3D image with its place in the world.

    Attributes
    ----------
    data : (I, J, K) array
        Intensities, with the file's slope and intercept applied: float32, or float64 where
        float32 would round the stored numbers.
    affine : (4, 4) array
        Maps voxel indices (I, J, K) to RAS+ coordinates, in millimetres by convention.
    header : Nifti1Header
        Of NIfTI-1 or NIfTI-2: as read, slope and intercept included, or made from what another
        format says of grid, type and units. Its free text may identify a person: keep it out of
        logs.
    path : Path or None
        File or folder that was read, which is never written to.
    format : str
        Name of the format it was read from, as in `formats.FORMATS`.
    kept : mapping
        Fields of that format that NIfTI has no place for and another grid leaves true. They may
        identify a person, too.
    """

    data: np.ndarray = field(repr=False)
    affine: np.ndarray = field(repr=False)
    header: Nifti1Header = field(repr=False)
    path: Path | None = None
    format: str = "nifti"
    kept: Mapping[str, str] = field(default_factory=dict, repr=False)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Voxels along I, J and K."""
        i, j, k = self.data.shape
        return i, j, k

    @property
    def voxel_size(self) -> tuple[float, float, float]:
        """Distance between voxel centres along I, J and K, in the units of the affine."""
        i, j, k = np.linalg.norm(self.affine[:3, :3], axis=0)
        return float(i), float(j), float(k)

    @property
    def stored_dtype(self) -> np.dtype:
        """Type of the numbers in the file, in native byte order."""
        native: np.dtype = self.header.get_data_dtype().newbyteorder("=")
        return native
