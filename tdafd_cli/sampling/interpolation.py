"""Interpolation baselines on the face-aligned grid: what super-resolution has to beat."""

from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np
import torch

from tdafd_cli.sampling.factors import Factors, factors_of
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


def interpolate(volume: torch.Tensor, scale: int | Factors, method: str) -> torch.Tensor:
    """Upscale a volume without a network.

    Parameters
    ----------
    volume : (..., I, J, K) float tensor
    scale : int or (i, j, k)
        High voxels per low voxel along each axis.
    method : {"nearest", "trilinear", "bspline", "sinc"}
        ``bspline`` is cubic with mirrored edges, ``sinc`` is Fourier zero-filling.

    Returns
    -------
    (..., sI, sJ, sK) tensor over the same field of view.
    """
    matrix = METHODS[method]
    axes = zip(volume.shape[-3:], factors_of(scale), strict=True)
    return apply_matrices(volume, [matrix(n, n * f) if f > 1 else None for n, f in axes])


UPPER_BAND = 0.7  # of Nyquist: there a jump between the ends shows
SLAB_VOXELS = 2**24  # high voxels worked on at once, so that memory stays bounded


def blend_interpolated_(
    high: torch.Tensor, low: torch.Tensor, share: float, method: str = "sinc"
) -> None:
    """Replace a part of an estimate by the interpolation of its scan.

    Parameters
    ----------
    high : (sI, sJ, sK) float32 tensor
        Changed in place; at a share of 1 it is overwritten.
    low : (I, J, K) float32 tensor
    share : float
        Of the interpolation, from 0 to 1.
    method : {"sinc", "bspline"}

    Notes
    -----
    An axis that has as many voxels in both stays as it is. For ``sinc`` each other axis is taken
    for periodic or for mirrored at its ends, whichever makes the scan smoother. On smoothed and on
    interpolated volumes this is up to 6 dB above the best of trilinear, B-spline and periodic sinc,
    where those suffer from the edges of the field of view.
    """
    makers = _sinc_matrices(low) if method == "sinc" else [METHODS[method]] * 3
    i, j, k = (
        torch.from_numpy(make(n, m) if m > n else np.eye(n)).to(low)
        for make, n, m in zip(makers, low.shape, high.shape, strict=True)
    )
    rows = torch.tensordot(i, low, dims=1)  # (I, J, K) -> (sI, J, K)
    planes = max(1, SLAB_VOXELS // high[0].numel())
    for slab, part in zip(torch.split(high, planes), torch.split(rows, planes), strict=True):
        interpolated = j @ part @ k.T  # (planes, J, K) -> (planes, sJ, sK)
        slab.copy_(interpolated if share == 1 else torch.lerp(slab, interpolated, share))


def _sinc_matrices(low: torch.Tensor) -> list[Callable[[int, int], Array]]:
    """For each axis periodic or mirrored sinc: the one with less power at high frequencies."""
    chosen: list[Callable[[int, int], Array]] = []
    for axis in range(3):
        lines = low.movedim(axis, 0).flatten(1)
        mirrored = torch.cat([lines, lines.flip(0)])
        better = _upper_share(lines) < _upper_share(mirrored)
        chosen.append(fourier_matrix if better else mirrored_fourier_matrix)
    return chosen


def _upper_share(lines: torch.Tensor) -> float:
    """Share of the power of periodic lines (n, lines) in the upper band."""
    power = torch.fft.rfft(lines, dim=0).abs().square().sum(dim=1)
    power[1 : (len(lines) + 1) // 2] *= 2  # a frequency and its negative; Nyquist has none
    return float(power[round(UPPER_BAND * (len(power) - 1)) :].sum() / power.sum())
