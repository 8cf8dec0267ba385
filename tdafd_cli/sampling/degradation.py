"""Degradation of a high-resolution volume to the face-aligned low grid.

The three benchmark degradations are ``kspace`` (the central ``1/scale`` of k-space, magnitude),
``gaussian`` (blur of one high voxel, cubic sampling at the low centres) and ``average`` (mean over
``scale**3`` blocks). Real scans are none of them exactly, so training draws from a mixture that
contains them: a profile per axis, with random apodisation, width and thickness, and Rician noise.

Where one axis alone gets coarser, as under thick slices, the others stay as they are. Slices have
profiles of their own (`slices`), and gaps between them.
"""

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch

from tdafd_cli.sampling.factors import Factors, factors_of
from tdafd_cli.sampling.matrices import (
    Array,
    apply_matrices,
    average_matrix,
    fourier_matrix,
    gaussian_matrix,
)
from tdafd_cli.sampling.slices import slice_matrix

ProfileKind = Literal["kspace", "hamming", "gaussian", "average", "slice-gaussian", "slice-slr"]
BENCHMARK_SIGMA_VOXELS = 1.0  # high voxels, as in Pham et al.'s SRCNN3D and ReCNN


@dataclass(frozen=True)
class Profile:
    """How one axis is sampled.

    Parameters
    ----------
    kind : {"kspace", "hamming", "gaussian", "average", "slice-gaussian", "slice-slr"}
    parameter : float
        kspace: fraction of the kept half-band under a Tukey taper, 0 for none.
        hamming: k-space factor at the edge of the kept band, 0.08 for Hamming's window.
        gaussian: standard deviation in high voxels.
        average, slice-gaussian, slice-slr: slice thickness in low voxels, at half maximum.
    """

    kind: ProfileKind
    parameter: float

    def matrix(self, n_high: int, scale: int) -> Array:
        """(n_high / scale, n_high) matrix that samples this axis."""
        n_low = n_high // scale
        if self.kind == "gaussian":
            return gaussian_matrix(n_high, n_low, self.parameter)
        if self.kind == "average":
            return average_matrix(n_high, n_low, self.parameter)
        if self.kind in ("slice-gaussian", "slice-slr"):
            return slice_matrix(n_high, n_low, self.kind.removeprefix("slice-"), self.parameter)
        return fourier_matrix(n_high, n_low, self._apodisation(n_low))

    def _apodisation(self, n_low: int) -> Array:
        frequency = np.arange(n_low // 2 + 1) / (n_low / 2)  # 0 at the centre, 1 at Nyquist
        if self.kind == "hamming":
            edge = self.parameter
            hamming: Array = (1 + edge) / 2 + (1 - edge) / 2 * np.cos(np.pi * frequency)
            return hamming
        if self.parameter == 0:
            return np.ones_like(frequency)
        into_taper = np.clip((frequency - 1) / self.parameter + 1, 0, 1)
        tukey: Array = 0.5 * (1 + np.cos(np.pi * into_taper))
        return tukey


@dataclass(frozen=True)
class Degradation:
    """A profile for each axis, then noise.

    Parameters
    ----------
    profiles : three Profile
    noise : float
        Standard deviation of the Rician noise's two channels, as a fraction of the volume's
        maximum.
    """

    profiles: tuple[Profile, Profile, Profile]
    noise: float = 0.0


def _benchmark(kind: ProfileKind, parameter: float) -> Degradation:
    profile = Profile(kind, parameter)
    return Degradation((profile, profile, profile))


BENCHMARK_DEGRADATIONS = {
    "kspace": _benchmark("kspace", 0.0),
    "gaussian": _benchmark("gaussian", BENCHMARK_SIGMA_VOXELS),
    "average": _benchmark("average", 1.0),
}
"""By the names in `kinds.DEGRADATIONS`."""

GAP = 0.2  # of the spacing
SLICE_DEGRADATIONS = {
    "thick-boxcar": _benchmark("average", 1.0),
    "thick-gaussian": _benchmark("slice-gaussian", 1.0),
    "thick-slr": _benchmark("slice-slr", 1.0),
    "thick-boxcar-gap": _benchmark("average", 1.0 - GAP),
    "thick-gaussian-gap": _benchmark("slice-gaussian", 1.0 - GAP),
}
"""Of one axis, by the names in `kinds.SLICE_DEGRADATIONS`."""


@dataclass(frozen=True)
class MixtureSettings:
    """Probabilities and ranges from which training draws a degradation.

    Parameters
    ----------
    kspace, gaussian, average : float
        Probabilities of the benchmark degradations; the rest is a varied degradation.
    mixed_axes : float
        Probability that a varied degradation draws every axis on its own.
    noise_probability, noise_maximum : float
        How often Rician noise is added, and its largest standard deviation (fraction of maximum).
    tukey, hamming, sigma_voxels, thickness : (low, high)
        Uniform ranges of the varied profiles' parameters.
    """

    kspace: float = 0.25
    gaussian: float = 0.25
    average: float = 0.25
    mixed_axes: float = 0.5
    noise_probability: float = 0.2
    noise_maximum: float = 0.015
    tukey: tuple[float, float] = (0.0, 0.6)
    hamming: tuple[float, float] = (0.08, 0.8)
    sigma_voxels: tuple[float, float] = (0.5, 1.4)
    thickness: tuple[float, float] = (0.8, 1.4)


@dataclass(frozen=True)
class SliceSettings:
    """Probabilities and ranges from which training draws thick slices.

    Parameters
    ----------
    boxcar, gaussian, slr : float
        Probabilities of the profiles; the rest are partitions of a 3D scan, truncated in k-space
        with or without a taper.
    exact : float
        Share of 2D scans whose slices are exactly as thick as they are apart.
    thickness : (low, high)
        Slice thickness over spacing of the others: gaps below 1, overlaps above.
    in_plane : float
        Share of pairs whose planes are soft, in the target too, as scanners interpolate them.
    in_plane_voxels : (low, high)
        Voxels that such planes were measured with, in voxels of the target.
    elongated : float
        Share of pairs whose target has longer voxels along the slices than in the plane.
    elongation : (low, high)
        How much longer.
    untold : float
        Share of pairs whose slices are too few to tell a fall-off.
    """

    boxcar: float = 0.35
    gaussian: float = 0.3
    slr: float = 0.25
    exact: float = 0.5
    thickness: tuple[float, float] = (0.7, 1.15)
    in_plane: float = 0.25
    in_plane_voxels: tuple[float, float] = (1.05, 1.7)
    elongated: float = 0.25
    elongation: tuple[float, float] = (1.0, 2.0)
    untold: float = 0.03


def random_slices(
    rng: np.random.Generator, slices: SliceSettings, mixture: MixtureSettings
) -> Degradation:
    """Draw a degradation of the slice axis, with the mixture's noise and tapers."""
    noise = 0.0
    if rng.random() < mixture.noise_probability:
        noise = float(rng.uniform(0, mixture.noise_maximum))
    thickness = 1.0 if rng.random() < slices.exact else float(rng.uniform(*slices.thickness))
    draw = rng.random()
    kinds: dict[ProfileKind, float] = {
        "average": slices.boxcar,
        "slice-gaussian": slices.gaussian,
        "slice-slr": slices.slr,
    }
    profile = Profile("kspace", float(rng.uniform(*mixture.tukey)))
    for kind, probability in kinds.items():
        if 0 <= draw < probability:
            profile = Profile(kind, thickness)
        draw -= probability
    return Degradation((profile, profile, profile), noise)


def random_degradation(rng: np.random.Generator, settings: MixtureSettings) -> Degradation:
    """Draw a degradation: of the benchmark's, or a varied one."""
    draw = rng.random()
    noise = 0.0
    if rng.random() < settings.noise_probability:
        noise = float(rng.uniform(0, settings.noise_maximum))
    for name in ("kspace", "gaussian", "average"):
        probability = getattr(settings, name)
        if draw < probability:
            return replace(BENCHMARK_DEGRADATIONS[name], noise=noise)
        draw -= probability
    profiles = [_random_profile(rng, settings) for _ in range(3)]
    if rng.random() >= settings.mixed_axes:
        profiles = [profiles[0]] * 3
    return Degradation((profiles[0], profiles[1], profiles[2]), noise)


def _random_profile(rng: np.random.Generator, settings: MixtureSettings) -> Profile:
    ranges: dict[ProfileKind, tuple[float, float]] = {
        "kspace": settings.tukey,
        "hamming": settings.hamming,
        "gaussian": settings.sigma_voxels,
        "average": settings.thickness,
    }
    kind = tuple(ranges)[rng.integers(len(ranges))]
    return Profile(kind, float(rng.uniform(*ranges[kind])))


def divisible(volume: torch.Tensor, scale: int | Factors) -> torch.Tensor:
    """The volume without the last voxels that do not fill a low voxel; voxel 0 stays."""
    i, j, k = (
        n - n % factor for n, factor in zip(volume.shape[-3:], factors_of(scale), strict=True)
    )
    return volume[..., :i, :j, :k]


def degrade(
    volume: torch.Tensor,
    scale: int | Factors,
    degradation: Degradation | str,
    generator: torch.Generator | None = None,
) -> torch.Tensor:
    """Low-resolution volume over the same field of view.

    Parameters
    ----------
    volume : (I, J, K) float tensor
        Every size a multiple of ``scale`` (see :func:`divisible`), else ``ValueError``.
    scale : int or (i, j, k)
        High voxels per low voxel; an axis with a factor of 1 is not degraded.
    degradation : Degradation or str
        One of `BENCHMARK_DEGRADATIONS` or `SLICE_DEGRADATIONS`, by name.
    generator : torch.Generator, optional
        Source of the noise; needed only if there is any.

    Returns
    -------
    (I / scale, J / scale, K / scale) tensor. The magnitude is taken if any axis was truncated in
    k-space, as a scanner does.
    """
    factors, sizes = factors_of(scale), volume.shape
    if any(n % factor or n == 0 for n, factor in zip(sizes, factors, strict=True)):
        raise ValueError(f"sizes {tuple(sizes)} are not multiples of {scale}")
    if isinstance(degradation, str):
        degradation = (BENCHMARK_DEGRADATIONS | SLICE_DEGRADATIONS)[degradation]
    axes = list(zip(degradation.profiles, sizes, factors, strict=True))
    low = apply_matrices(volume, [p.matrix(n, f) if f > 1 else None for p, n, f in axes])
    if any(profile.kind in ("kspace", "hamming") for profile, _, factor in axes if factor > 1):
        low = low.abs()
    if degradation.noise > 0:
        sigma = degradation.noise * volume.max()
        real, imaginary = torch.randn((2, *low.shape), generator=generator).to(low) * sigma
        low = torch.hypot(low + real, imaginary)
    return low
