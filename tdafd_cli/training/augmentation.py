"""Augmentation of training volumes: contrast, bias field, slices, the symmetries of the cube."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise, permutations

import numpy as np
import torch

from tdafd_cli.sampling.degradation import SliceSettings
from tdafd_cli.sampling.matrices import apply_matrices, fourier_matrix

AXIS_ORDERS = tuple(permutations(range(3)))
SLICE_ORDERS = ((0, 1, 2), (1, 0, 2))  # the last stays last


@dataclass(frozen=True)
class ContrastSettings:
    """How often and how much a training volume's intensities are changed.

    Parameters
    ----------
    gamma_probability, gamma_log_range : float
        Tissue intensities are raised to ``exp(u)``, ``|u| <= gamma_log_range``.
    remap_probability : float
        Probability of a random smooth, not monotonic map of tissue intensities, so that T2-, PD-
        and FLAIR-like orders of CSF, grey and white matter occur; background stays dark.
    bias_probability, bias_maximum : float
        A smooth multiplicative field between ``1 - bias_maximum`` and ``1 + bias_maximum``.
    """

    gamma_probability: float = 0.3
    gamma_log_range: float = 0.5
    remap_probability: float = 0.15
    bias_probability: float = 0.3
    bias_maximum: float = 0.3


def random_contrast(
    volume: torch.Tensor, rng: np.random.Generator, settings: ContrastSettings
) -> torch.Tensor:
    """Volume (I, J, K) with background 0 and tissue up to about 1, its contrast varied."""
    if rng.random() < settings.remap_probability:
        volume = remapped(volume, rng.uniform(0.1, 1.0, size=4))
    elif rng.random() < settings.gamma_probability:
        exponent = np.exp(rng.uniform(-settings.gamma_log_range, settings.gamma_log_range))
        volume = volume.clamp(min=0) ** float(exponent)
    if rng.random() < settings.bias_probability:
        field = bias_field(volume.shape, rng.uniform(-1, 1, size=(3, 3, 3)))
        volume = volume * (1 + settings.bias_maximum * field)
    return volume


def remapped(volume: torch.Tensor, knots: np.ndarray) -> torch.Tensor:
    """Piecewise-linear map of [0, 1]: 0 stays 0, the knots lie evenly up to 1, then constant.

    The first knot lies at 0.2, so that partial volumes at the outer surface stay in order.
    """
    positions = torch.linspace(0.2, 1.0, len(knots)).tolist()
    points = [(0.0, 0.0), *zip(positions, map(float, knots), strict=True)]
    mapped = torch.zeros_like(volume)
    for (x0, y0), (x1, y1) in pairwise(points):
        mapped += (y1 - y0) * ((volume - x0) / (x1 - x0)).clamp(0, 1)
    return mapped


def bias_field(shape: tuple[int, ...] | torch.Size, coefficients: np.ndarray) -> torch.Tensor:
    """Smooth field in [-1, 1]: a low-order cosine series over the field of view."""
    field = torch.as_tensor(coefficients, dtype=torch.float32)
    for axis, size in enumerate(shape):
        order = torch.arange(field.shape[axis])
        waves = torch.cos(torch.pi * order * (torch.arange(size)[:, None] + 0.5) / size)
        field = (field.movedim(axis, -1) @ waves.T).movedim(-1, axis)
    return field / field.abs().max().clamp(min=1e-6)


def elongated(
    volume: torch.Tensor,
    minimum: Sequence[int],
    rng: np.random.Generator,
    settings: SliceSettings,
) -> torch.Tensor:
    """Volume (I, J, K), now and then with longer voxels along its last axis.

    So planes of 0.5 mm occur beside slices that are to be made 1 mm thin. The axis is cropped in
    k-space and keeps its ``minimum`` of voxels.
    """
    if rng.random() >= settings.elongated:
        return volume
    length = volume.shape[2]
    target = max(round(length / rng.uniform(*settings.elongation)), min(minimum[2], length))
    return apply_matrices(volume, [None, None, fourier_matrix(length, target)]).abs()


def soft_in_plane(
    volume: torch.Tensor, rng: np.random.Generator, settings: SliceSettings
) -> torch.Tensor:
    """Volume (I, J, K), now and then with fewer frequencies than voxels along I, J or both.

    So scanners interpolate the planes of 2D scans. What a network for slices is to give back is as
    soft in the plane as what it is shown.
    """
    if rng.random() >= settings.in_plane:
        return volume
    axes = ((0,), (1,), (0, 1))[rng.integers(3)]
    for axis in axes:
        length = volume.shape[axis]
        kept = round(length / rng.uniform(*settings.in_plane_voxels))
        matrix = fourier_matrix(kept, length) @ fourier_matrix(length, kept)
        volume = apply_matrices(volume, [matrix if axis == each else None for each in range(3)])
    return volume.abs()


def random_symmetry(
    rng: np.random.Generator, *, slices_last: bool = False
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """One of the cube's 48 symmetries: an order of the axes, and the axes to flip.

    With ``slices_last`` one of the 16 that keep the last axis last.
    """
    orders = SLICE_ORDERS if slices_last else AXIS_ORDERS
    order = orders[rng.integers(len(orders))]
    flipped = tuple(axis for axis in range(3) if rng.random() < 0.5)
    return order, flipped


def transformed(
    patch: torch.Tensor, symmetry: tuple[tuple[int, ...], tuple[int, ...]]
) -> torch.Tensor:
    """Patch (I, J, K) after :func:`random_symmetry`'s symmetry."""
    order, flipped = symmetry
    return patch.permute(order).flip(flipped)
