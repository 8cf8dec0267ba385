"""Interpolation baselines on the face-aligned grid: what super-resolution has to beat."""

from collections.abc import Callable, Mapping
from types import MappingProxyType

import torch

from tdafd_cli.sampling.matrices import (
    Array,
    apply_matrices,
    bspline_matrix,
    fourier_matrix,
    mirrored_fourier_matrix,
    nearest_matrix,
    trilinear_matrix,
)

BASELINES: Mapping[str, Callable[[int, int], Array]] = MappingProxyType(
    {"trilinear": trilinear_matrix, "bspline": bspline_matrix, "sinc": fourier_matrix}
)
METHODS: Mapping[str, Callable[[int, int], Array]] = MappingProxyType(
    {"nearest": nearest_matrix, **BASELINES}
)


def interpolate(volume: torch.Tensor, scale: int, method: str) -> torch.Tensor:
    """Upscale a volume without a network.

    Parameters
    ----------
    volume : (..., I, J, K) float tensor
    scale : int
        High voxels per low voxel along each axis.
    method : {"nearest", "trilinear", "bspline", "sinc"}
        ``bspline`` is cubic with mirrored edges, ``sinc`` is Fourier zero-filling.

    Returns
    -------
    (..., sI, sJ, sK) tensor over the same field of view.
    """
    matrix = METHODS[method]
    return apply_matrices(volume, [matrix(size, size * scale) for size in volume.shape[-3:]])


SLAB_VOXELS = 2**24  # high voxels worked on at once, so that memory stays bounded


def blend_interpolated_(high: torch.Tensor, low: torch.Tensor, share: float) -> None:
    """Replace a part of an estimate by the mirrored sinc interpolation of its scan.

    Parameters
    ----------
    high : (sI, sJ, sK) float32 tensor
        Changed in place; what it holds does not matter at a share of 1.
    low : (I, J, K) float32 tensor
    share : float
        Of the interpolation, from 0 to 1.

    Notes
    -----
    On smoothed and on interpolated volumes this interpolation is above the best of trilinear,
    B-spline and sinc, by up to 6 dB where those suffer from the edges of the field of view.
    """
    i, j, k = (
        torch.from_numpy(mirrored_fourier_matrix(n, m)).to(low)
        for n, m in zip(low.shape, high.shape, strict=True)
    )
    rows = torch.tensordot(i, low, dims=1)  # (I, J, K) -> (sI, J, K)
    planes = max(1, SLAB_VOXELS // high[0].numel())
    for slab, part in zip(torch.split(high, planes), torch.split(rows, planes), strict=True):
        interpolated = j @ part @ k.T  # (planes, J, K) -> (planes, sJ, sK)
        slab.copy_(interpolated if share == 1 else torch.lerp(slab, interpolated, share))
