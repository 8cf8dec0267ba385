"""Separable linear resampling of volumes: one matrix per axis, outer faces in place.

Trilinear, B-spline, sinc, windowed sinc, block averages and Gaussian blurs are all linear and
separable, so each is an ``(n_out, n_in)`` matrix for every axis, and applying it is three matrix
products. Sample ``m`` of ``n_out`` lies at input index ``(m + 0.5) * n_in / n_out - 0.5``: both
grids cover the same field of view.
"""

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch

Array = npt.NDArray[np.float64]

GAUSSIAN_TRUNCATION = 4.0  # standard deviations kept, as scipy.ndimage.gaussian_filter does
DUST = 1e-12
LANCZOS_LOBES = 4  # -0.03 dB in the passband of a doubled grid; 8 low voxels of support


def apply_matrices(volume: torch.Tensor, matrices: Sequence[Array | None]) -> torch.Tensor:
    """Multiply the last three axes of a volume by one matrix each.

    Parameters
    ----------
    volume : (..., I, J, K) tensor
        Any floating dtype, any device.
    matrices : three (n_out, n_in) arrays
        ``n_in`` must equal I, J and K in turn; None leaves an axis as it is.

    Returns
    -------
    (..., I', J', K') tensor of the volume's dtype.
    """
    given = [(axis, matrix) for axis, matrix in enumerate(matrices) if matrix is not None]
    # The axis that shrinks most goes first.
    for axis, weights in sorted(given, key=lambda each: each[1].shape[0] / each[1].shape[1]):
        matrix = torch.as_tensor(weights, dtype=volume.dtype, device=volume.device)
        volume = (volume.movedim(axis - 3, -1) @ matrix.T).movedim(-1, axis - 3)
    return volume


def sample_positions(n_in: int, n_out: int) -> Array:
    """Input indices of the ``n_out`` samples that cover the same field of view."""
    return np.asarray((np.arange(n_out) + 0.5) * (n_in / n_out) - 0.5, dtype=np.float64)


def fourier_matrix(n_in: int, n_out: int, apodisation: Array | None = None) -> Array:
    """Band-limited (sinc) resampling: zero-filled when finer, truncated k-space when coarser.

    Parameters
    ----------
    n_in, n_out : int
        Samples before and after.
    apodisation : (F + 1,) array, optional
        Factors for the frequencies ``0 .. F`` cycles per field of view that are kept, with
        ``F = min(n_in, n_out) // 2``; all ones by default.

    Notes
    -----
    The phase ramp that keeps the faces in place is in the cosine: both grids are offset by half a
    voxel. The Nyquist frequency of an even grid is shared by its two signs, so the matrix is real.
    """
    kept = min(n_in, n_out)
    frequencies = np.arange(kept // 2 + 1)
    factors = np.full(len(frequencies), 2.0) if apodisation is None else 2.0 * apodisation
    factors[0] /= 2
    if kept % 2 == 0:
        factors[-1] /= 2
    after, before = (
        2 * np.pi * frequencies * (np.arange(n)[:, None] + 0.5) / n for n in (n_out, n_in)
    )
    # cos(a - b) = cos a cos b + sin a sin b
    matrix: Array = (np.cos(after) * factors) @ np.cos(before).T
    matrix += (np.sin(after) * factors) @ np.sin(before).T
    return matrix / n_in


def mirrored_fourier_matrix(n_in: int, n_out: int) -> Array:
    """Band-limited (sinc) resampling to a finer grid, mirrored at the outer faces.

    Fourier zero-filling takes a volume for periodic, so that a crop whose opposite faces differ
    rings from one to the other. Mirrored there is no jump: zero-filling of a cosine transform.
    """
    frequencies = np.arange(n_in)
    factors = np.full(n_in, 2.0)
    factors[0] = 1.0
    after, before = (
        np.cos(np.pi / n * (np.arange(n)[:, None] + 0.5) * frequencies) for n in (n_out, n_in)
    )
    matrix: Array = (after * factors) @ before.T / n_in
    return matrix


def centred_matrix(n_in: int, n_out: int, step: float) -> Array:
    """Band-limited (sinc) resampling to any voxel edge about the middle, mirrored at outer faces.

    Parameters
    ----------
    n_in, n_out : int
        Samples before and after; both grids have the same middle.
    step : float
        Edge of an output voxel in input voxels. Of coarser ones (above 1) only the frequencies that
        they can hold are kept.
    """
    kept = n_in if step <= 1 else max(1, math.ceil(n_in / step - DUST))
    factors = np.full(kept, 2.0)
    factors[0] = 1.0
    middles = (np.arange(n_out) - (n_out - 1) / 2) * step + n_in / 2  # from the first face on
    after, before = (
        np.cos(np.pi / n_in * places[:, None] * np.arange(kept))
        for places in (middles, np.arange(n_in) + 0.5)
    )
    matrix: Array = (after * factors) @ before.T / n_in
    return matrix


def nearest_places(n_in: int, n_out: int, step: float) -> npt.NDArray[np.intp]:
    """Input index nearest to each voxel of the grids of `centred_matrix`; ties to the lower one."""
    positions = (np.arange(n_out) - (n_out - 1) / 2) * step + (n_in - 1) / 2
    places: npt.NDArray[np.intp] = np.ceil(positions - 0.5 - DUST).astype(np.intp)
    return places.clip(0, n_in - 1)


def trilinear_matrix(n_in: int, n_out: int) -> Array:
    """Linear interpolation, edges replicated."""
    return _kernel_matrix(sample_positions(n_in, n_out), n_in, lambda t: np.maximum(1 - t, 0), 1)


def nearest_matrix(n_in: int, n_out: int) -> Array:
    """Nearest-neighbour interpolation; a tie goes to the lower index."""
    matrix = np.zeros((n_out, n_in))
    matrix[np.arange(n_out), np.ceil(sample_positions(n_in, n_out) - 0.5).astype(int)] = 1
    return matrix


def lanczos_matrix(n_in: int, n_out: int) -> Array:
    """Windowed-sinc interpolation to a finer grid, edges replicated, rows summing to one.

    Unlike :func:`fourier_matrix` its support is finite (``LANCZOS_LOBES`` input voxels to each
    side), so a tile of a volume gives what the whole volume gives.
    """
    positions = sample_positions(n_in, n_out)
    matrix = _kernel_matrix(
        positions, n_in, lambda t: np.sinc(t) * np.sinc(t / LANCZOS_LOBES), LANCZOS_LOBES
    )
    normalised: Array = matrix / matrix.sum(axis=1, keepdims=True)
    return normalised


def bspline_matrix(n_in: int, n_out: int) -> Array:
    """Cubic B-spline interpolation with mirrored edges (Unser et al., 1993)."""
    return bspline_sampling_matrix(sample_positions(n_in, n_out), n_in)


def bspline_sampling_matrix(positions: Array, n_in: int) -> Array:
    """Cubic B-spline through ``n_in`` samples, evaluated at any input indices.

    Positions in the half voxel beyond the outer centres are mirrored, as the samples are.
    """
    if n_in == 1:
        return np.ones((len(positions), 1))
    prefilter = np.linalg.inv(_mirrored_kernel_matrix(np.arange(n_in, dtype=float), n_in))
    return _without_dust(_mirrored_kernel_matrix(positions, n_in) @ prefilter)


def average_matrix(n_in: int, n_out: int, width: float = 1.0) -> Array:
    """Mean over a box of ``width`` output voxels around each output centre.

    A width of 1 averages blocks, as a slice of exactly its spacing's thickness does; boxes that
    reach past the ends are cut there and renormalised.
    """
    step = n_in / n_out
    centres = (np.arange(n_out) + 0.5) * step
    lower = np.maximum(centres - width * step / 2, 0)[:, None]
    upper = np.minimum(centres + width * step / 2, n_in)[:, None]
    edges = np.arange(n_in)[None, :]
    covered = np.clip(np.minimum(upper, edges + 1) - np.maximum(lower, edges), 0, None)
    matrix: Array = covered / covered.sum(axis=1, keepdims=True)
    return matrix


def gaussian_matrix(n_in: int, n_out: int, sigma_voxels: float) -> Array:
    """Gaussian blur of ``sigma_voxels`` input voxels, then cubic sampling at the output centres."""
    radius = math.ceil(GAUSSIAN_TRUNCATION * sigma_voxels)
    blur = _kernel_matrix(
        np.arange(n_in, dtype=float), n_in, lambda t: np.exp(-0.5 * (t / sigma_voxels) ** 2), radius
    )
    blur /= blur.sum(axis=1, keepdims=True)
    return _without_dust(bspline_matrix(n_in, n_out) @ blur)


def _without_dust(matrix: Array) -> Array:
    """Zeros for weights far below rounding: as subnormal floats they slow products ten times."""
    return np.where(np.abs(matrix) < DUST, 0.0, matrix)


def _kernel_matrix(positions: Array, n_in: int, kernel: object, radius: int) -> Array:
    """Weights ``kernel(|position - index|)``; indices beyond the ends count for the end voxels."""
    assert callable(kernel)
    taps = np.floor(positions)[:, None] + np.arange(-radius, radius + 1)[None, :]
    weights = kernel(np.abs(positions[:, None] - taps)) * (
        np.abs(positions[:, None] - taps) <= radius
    )
    matrix = np.zeros((len(positions), n_in))
    rows = np.broadcast_to(np.arange(len(positions))[:, None], taps.shape)
    np.add.at(matrix, (rows, np.clip(taps, 0, n_in - 1).astype(int)), weights)
    return matrix


def _cubic_bspline(distance: Array) -> Array:
    """Cubic B-spline basis function of a distance >= 0, in knots."""
    near = 2 / 3 - distance**2 + distance**3 / 2
    far = np.maximum(2 - distance, 0) ** 3 / 6
    value: Array = np.where(distance < 1, near, far)
    return value


def _mirrored_kernel_matrix(positions: Array, n_in: int) -> Array:
    """B-spline basis at the positions, coefficients mirrored about the outer centres."""
    taps = np.floor(positions).astype(int)[:, None] + np.arange(-1, 3)[None, :]
    weights = _cubic_bspline(np.abs(np.asarray(positions)[:, None] - taps))
    period = 2 * (n_in - 1)
    folded = np.abs((taps + period) % period)
    folded = np.where(folded >= n_in, period - folded, folded)
    matrix = np.zeros((len(positions), n_in))
    np.add.at(
        matrix, (np.broadcast_to(np.arange(len(positions))[:, None], taps.shape), folded), weights
    )
    return matrix
