"""What is done to scans before anyone upscales them: smoothing, interpolation, segmentation.

A network that has seen scanners' images alone adds detail to everything. These transforms of a
high volume, and artefacts of a low one, teach it where the right answer is to add little.
"""

from dataclasses import dataclass

import numpy as np
import torch

from tdafd_cli.sampling.factors import Factors, factors_of
from tdafd_cli.sampling.matrices import (
    apply_matrices,
    average_matrix,
    bspline_matrix,
    fourier_matrix,
    gaussian_matrix,
    nearest_matrix,
    trilinear_matrix,
)

SMOOTHING_VOXELS = (1.6, 4.5)
"""Standard deviations in high voxels: more than a degradation of the mixture has."""
COARSENING = (0.9, 2.5)
"""Voxels of interpolated volumes before, in low voxels: finer ones leave no trace in the low."""
INTERPOLATIONS = (nearest_matrix, trilinear_matrix, bspline_matrix)
PROBABILITY_SLOPES = (6.0, 40.0)  # of a sigmoid over tissue from 0 to 1
GREY_LEVELS = (4, 64)
SHAPES = (1, 30)  # in a synthetic volume
SPIKES_PER_VOXEL = (1e-6, 1e-4)
SPIKE_HEIGHTS = (1.2, 10.0)  # of the intensity range


@dataclass(frozen=True)
class ProcessingSettings:
    """How often a training volume is processed, and how.

    Parameters
    ----------
    probability : float
        Share of pairs whose high volume is processed before it is degraded.
    artefacts : float
        Share of pairs whose low volume gets spikes or loses slices, which the target does not.
    """

    probability: float = 0.0
    artefacts: float = 0.0


def random_processing(
    volume: torch.Tensor, scale: int | Factors, rng: np.random.Generator
) -> torch.Tensor:
    """Volume (I, J, K) with tissue at about 0 to 1, processed in one way out of many."""
    kinds = (
        smoothed,
        smoothed,
        zero_filled,
        zero_filled,
        interpolated,
        interpolated,
        thresholded,
        labelled,
        as_probabilities,
        as_probabilities,
        quantised,
        synthetic,
    )
    return kinds[rng.integers(len(kinds))](volume, scale, rng)


def smoothed(volume: torch.Tensor, scale: int | Factors, rng: np.random.Generator) -> torch.Tensor:
    """Gaussian smoothing, as before a group analysis."""
    sigma = float(rng.uniform(*SMOOTHING_VOXELS))
    return apply_matrices(volume, [gaussian_matrix(n, n, sigma) for n in volume.shape])


def zero_filled(
    volume: torch.Tensor, scale: int | Factors, rng: np.random.Generator
) -> torch.Tensor:
    """Fewer frequencies than voxels along one axis, two or all, as scanners interpolate."""
    factors = factors_of(scale)
    coarsening = float(rng.uniform(1.1, COARSENING[1]))
    axes = _some_axes(rng)
    down, up = [], []
    for axis, n in enumerate(volume.shape):
        kept = max(8, round(n / (factors[axis] * coarsening))) if axis in axes else n
        down.append(fourier_matrix(n, kept))
        up.append(fourier_matrix(kept, n))
    return apply_matrices(apply_matrices(volume, down), up).abs()


def interpolated(
    volume: torch.Tensor, scale: int | Factors, rng: np.random.Generator
) -> torch.Tensor:
    """Averaged to coarser voxels and interpolated back."""
    factors = factors_of(scale)
    coarsening = float(rng.uniform(*COARSENING))
    axes = _some_axes(rng)
    method = INTERPOLATIONS[rng.integers(len(INTERPOLATIONS))]
    down, up = [], []
    for axis, n in enumerate(volume.shape):
        kept = min(n, max(8, round(n / (factors[axis] * coarsening)))) if axis in axes else n
        down.append(average_matrix(n, kept) if kept < n else np.eye(n))
        up.append(method(kept, n) if kept < n else np.eye(n))
    return apply_matrices(apply_matrices(volume, down), up)


def thresholded(
    volume: torch.Tensor, scale: int | Factors, rng: np.random.Generator
) -> torch.Tensor:
    """A binary mask of what is brighter than a random level, its outline more or less smooth."""
    return (_smooth(volume, rng) > float(rng.uniform(0.15, 0.7))).to(volume)


def labelled(volume: torch.Tensor, scale: int | Factors, rng: np.random.Generator) -> torch.Tensor:
    """Tissue classes by intensity, each with a random value."""
    levels = torch.from_numpy(np.sort(rng.uniform(0.05, 0.95, rng.integers(2, 7)))).to(volume)
    values = torch.from_numpy(np.concatenate([[0.0], rng.uniform(0.1, 1, len(levels))])).to(volume)
    return values[torch.bucketize(_smooth(volume, rng), levels)]


def as_probabilities(
    volume: torch.Tensor, scale: int | Factors, rng: np.random.Generator
) -> torch.Tensor:
    """A probability map: 0 or 1 nearly everywhere, with soft edges."""
    slope, level = float(rng.uniform(*PROBABILITY_SLOPES)), float(rng.uniform(0.2, 0.7))
    return torch.sigmoid(slope * (_smooth(volume, rng) - level))


def quantised(volume: torch.Tensor, scale: int | Factors, rng: np.random.Generator) -> torch.Tensor:
    """Rounded to few grey levels."""
    levels = int(rng.integers(*GREY_LEVELS))
    return (volume * levels).round() / levels


def synthetic(volume: torch.Tensor, scale: int | Factors, rng: np.random.Generator) -> torch.Tensor:
    """Ellipsoids without noise in an even background, their edges sharp to very soft."""
    grids = [torch.arange(n, dtype=torch.float32) for n in volume.shape]
    result = torch.full_like(volume, float(rng.choice([0.0, rng.uniform(0, 1)])))
    for _ in range(rng.integers(*SHAPES)):
        radii = np.exp(rng.uniform(np.log(3), np.log(min(volume.shape) / 2.2), 3))
        squares = [
            ((grid - float(rng.uniform(0, n))) / float(radius)) ** 2
            for grid, n, radius in zip(grids, volume.shape, radii, strict=True)
        ]
        i, j, k = squares
        radius = (i[:, None, None] + j[:, None] + k).sqrt()  # 1 on the surface
        distance = (radius - 1) * float(radii.min())
        softness = float(np.exp(rng.uniform(np.log(0.3), np.log(6))))
        inside = torch.sigmoid(-distance / softness)
        result += inside * (float(rng.uniform(0, 1)) - result)
    return result


def random_artefact(low: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
    """Low volume (I, J, K) with spikes, or without some of its slices."""
    low = low.clone()
    if rng.random() < 0.5:
        share = np.exp(rng.uniform(*np.log(SPIKES_PER_VOXEL)))
        count = 1 + int(share * low.numel())
        places = torch.from_numpy(rng.integers(low.numel(), size=count))
        heights = torch.from_numpy(rng.uniform(*SPIKE_HEIGHTS, size=count)).to(low)
        low.view(-1)[places] = heights * low.max()
        return low
    axis = int(rng.integers(3))
    for index in rng.integers(low.shape[axis], size=rng.integers(1, 4)):
        low.select(axis, int(index)).zero_()
    return low


def _some_axes(rng: np.random.Generator) -> set[int]:
    """All axes half of the time, else one or two."""
    count = int(rng.choice([1, 2, 3, 3]))
    return set(rng.permutation(3)[:count].tolist())


def _smooth(volume: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
    sigma = float(rng.uniform(0.5, 2.0))
    return apply_matrices(volume, [gaussian_matrix(n, n, sigma) for n in volume.shape])
