"""Interpolation baselines on the face-aligned grid: what super-resolution has to beat."""

from collections.abc import Callable, Mapping
from types import MappingProxyType

import torch

from tdafd_cli.sampling.matrices import (
    Array,
    apply_matrices,
    bspline_matrix,
    fourier_matrix,
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
