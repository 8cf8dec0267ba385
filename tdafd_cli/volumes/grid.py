"""Grids over one field of view: their affines, and volumes put onto them."""

from dataclasses import replace

import numpy as np
from nibabel.nifti1 import Nifti1Header

from tdafd_cli.volumes.nifti_header import regrid_header, spatial_shape
from tdafd_cli.volumes.volume import Volume


def upscaled_affine(affine: np.ndarray, scale: int) -> np.ndarray:
    """Affine of a grid ``scale`` times finer over the same field of view.

    Parameters
    ----------
    affine : (4, 4) array
        Maps voxel indices (I, J, K) to RAS+ millimetres.
    scale : int
        New voxels per old voxel along each axis.

    Notes
    -----
    Outer faces stay in place, so the centre of voxel 0 moves by ``(1 / scale - 1) / 2`` old
    voxels. Fourier zero filling and corner-aligned zooms keep that centre instead: on this grid
    they are half a voxel off unless they correct for it.
    """
    return _rescaled(affine, 1 / scale)


def downscaled_affine(affine: np.ndarray, scale: int) -> np.ndarray:
    """Affine of a grid ``scale`` times coarser: the inverse of `upscaled_affine`.

    The lower faces of voxel 0 stay in place; so do the upper faces of the last one where the
    finer grid's size is a multiple of ``scale``.
    """
    return _rescaled(affine, float(scale))


def regridded(volume: Volume, data: np.ndarray, affine: np.ndarray) -> Volume:
    """Put other voxels, on another grid, in place of those of ``volume``.

    Parameters
    ----------
    volume : Volume
        Where units, description, intent, extensions, stored type and scaling come from.
    data : (I, J, K) array
        Intensities on the scale of ``volume.data``.
    affine : (4, 4) array
        Maps indices of ``data`` to the world of ``volume.affine``.

    Raises
    ------
    OutputError
        The new grid has more voxels along an axis than NIfTI-1 can count (32,767).

    See Also
    --------
    tdafd_cli.volumes.nifti_header.regrid_header : What becomes of sform, qform and their codes.
    """
    if data.ndim != 3:
        raise ValueError(f"data must have 3 dimensions, got shape {data.shape}")
    to_old_index = np.linalg.solve(volume.affine, affine)
    header = regrid_header(volume.header, data.shape, to_old_index)
    return replace(volume, data=data, affine=np.array(affine, dtype=np.float64), header=header)


def upscaled_header(
    header: Nifti1Header, affine: np.ndarray, scale: int
) -> tuple[Nifti1Header, np.ndarray]:
    """Header and affine of the grid that `upscaled_affine` describes, of a volume of ``header``."""
    finer = upscaled_affine(affine, scale)
    shape = tuple(scale * length for length in spatial_shape(header))
    return regrid_header(header, shape, np.linalg.solve(affine, finer)), finer


def _rescaled(affine: np.ndarray, size: float) -> np.ndarray:
    """Affine of voxels ``size`` times as long, the lower faces of voxel 0 in place."""
    to_old_index = np.diag([size] * 3 + [1.0])
    to_old_index[:3, 3] = (size - 1) / 2
    return np.asarray(affine @ to_old_index)
