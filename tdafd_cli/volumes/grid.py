"""Grids over one field of view: their affines, and volumes put onto them."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from tdafd_cli.sampling.factors import Factors, factors_of
from tdafd_cli.volumes.nifti_header import regrid_header
from tdafd_cli.volumes.volume import Volume


def upscaled_affine(affine: np.ndarray, scale: int | Factors) -> np.ndarray:
    """Affine of a grid ``scale`` times finer over the same field of view.

    Parameters
    ----------
    affine : (4, 4) array
        Maps voxel indices (I, J, K) to RAS+ millimetres.
    scale : int or (i, j, k)
        New voxels per old voxel along each axis.

    Notes
    -----
    Outer faces stay in place, so the centre of voxel 0 moves by ``(1 / scale - 1) / 2`` old
    voxels. Fourier zero filling and corner-aligned zooms keep that centre instead: on this grid
    they are half a voxel off unless they correct for it.
    """
    return _rescaled(affine, [1 / factor for factor in factors_of(scale)])


def downscaled_affine(affine: np.ndarray, scale: int | Factors) -> np.ndarray:
    """Affine of a grid ``scale`` times coarser: the inverse of `upscaled_affine`.

    The lower faces of voxel 0 stay in place; so do the upper faces of the last one where the
    finer grid's size is a multiple of ``scale``.
    """
    return _rescaled(affine, factors_of(scale))


def centred_affine(
    affine: np.ndarray, shape: Sequence[int], size: Sequence[float], new_shape: Sequence[int]
) -> np.ndarray:
    """Affine of any other grid with the same middle.

    Parameters
    ----------
    affine : (4, 4) array
    shape : (I, J, K)
        Of the grid that the affine is of.
    size : three floats
        Edges of the new voxels, in old ones.
    new_shape : (I', J', K')
    """
    to_old_index = np.diag([*size, 1.0])
    for axis, (before, step, after) in enumerate(zip(shape, size, new_shape, strict=True)):
        to_old_index[axis, 3] = (before - 1) / 2 - step * (after - 1) / 2
    return np.asarray(affine @ to_old_index)


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


def _rescaled(affine: np.ndarray, size: Sequence[float]) -> np.ndarray:
    """Affine of voxels ``size`` times as long, the lower faces of voxel 0 in place."""
    to_old_index = np.diag([*size, 1.0])
    to_old_index[:3, 3] = (np.array(size) - 1) / 2
    return np.asarray(affine @ to_old_index)
