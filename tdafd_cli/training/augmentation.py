"""Augmentation of training volumes: contrast, bias field and the symmetries of the cube."""

from dataclasses import dataclass
from itertools import pairwise, permutations

import numpy as np
import torch

AXIS_ORDERS = tuple(permutations(range(3)))


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


def random_symmetry(rng: np.random.Generator) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """One of the cube's 48 symmetries: an order of the axes, and the axes to flip."""
    order = AXIS_ORDERS[rng.integers(len(AXIS_ORDERS))]
    flipped = tuple(axis for axis in range(3) if rng.random() < 0.5)
    return order, flipped


def transformed(
    patch: torch.Tensor, symmetry: tuple[tuple[int, ...], tuple[int, ...]]
) -> torch.Tensor:
    """Patch (I, J, K) after :func:`random_symmetry`'s symmetry."""
    order, flipped = symmetry
    return patch.permute(order).flip(flipped)
