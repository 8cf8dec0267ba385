"""Slice profiles: with which weight a thick slice takes up what lies before and behind its middle.

A 2D scan excites one slab after another. How much a place contributes depends on its distance from
the slab's middle: a *boxcar* counts all within the thickness alike, a *Gaussian* is the usual model
of real profiles, and ``slr`` is what a pulse makes that was designed for a flat top and steep sides
(Pauly et al., IEEE TMI 1991): here a sinc of four zero crossings under a Hamming window, at a flip
angle of 90 degrees, whose profile is computed as the spins would answer. Widths are full widths at
half maximum, in units of the spacing: below 1 there are gaps, above 1 slices overlap.
"""

import math
from collections.abc import Callable, Mapping
from functools import cache
from types import MappingProxyType

import numpy as np
from scipy.special import ndtr

from tdafd_cli.sampling.matrices import Array

FWHM_PER_SIGMA = math.sqrt(8 * math.log(2))  # of a Gaussian

TIME_BANDWIDTH = 4  # zero crossings of the sinc: usual in 2D sequences
PULSE_SAMPLES = 256
PROFILE_REACH = 3.0  # nominal thicknesses to each side that are computed
PROFILE_SAMPLES = 1201


def slice_matrix(n_in: int, n_out: int, profile: str, thickness: float) -> Array:
    """Matrix (n_out, n_in) that takes thick slices of thin ones.

    Parameters
    ----------
    n_in, n_out : int
        Thin and thick slices over the same field of view.
    profile : {"boxcar", "gaussian", "slr"}
    thickness : float
        Full width at half maximum, in thick slices.

    Notes
    -----
    A thin slice is even within its faces and counts with the profile's integral over it, so the
    thick slice's centroid is its middle whatever the profile. What reaches past the ends is cut.
    """
    step = n_in / n_out
    middles = (np.arange(n_out) + 0.5)[:, None] * step
    faces = (np.arange(n_in + 1)[None, :] - middles) / (step * thickness)
    weights = np.diff(CUMULATIVE[profile](faces), axis=1)
    matrix: Array = weights / weights.sum(axis=1, keepdims=True)
    return matrix


def _boxcar(distance: Array) -> Array:
    cumulative: Array = np.clip(distance, -0.5, 0.5)
    return cumulative


def _gaussian(distance: Array) -> Array:
    cumulative: Array = ndtr(distance * FWHM_PER_SIGMA)
    return cumulative


def _slr(distance: Array) -> Array:
    places, cumulative = _slr_table()
    interpolated: Array = np.interp(distance, places, cumulative)
    return interpolated


CUMULATIVE: Mapping[str, Callable[[Array], Array]] = MappingProxyType(
    {"boxcar": _boxcar, "gaussian": _gaussian, "slr": _slr}
)
"""Integral of each profile up to a distance from the middle, in full widths at half maximum."""


@cache
def _slr_table() -> tuple[Array, Array]:
    """Places, in full widths at half maximum, and the integral of the profile up to them."""
    places = np.linspace(-PROFILE_REACH, PROFILE_REACH, PROFILE_SAMPLES)
    profile = excited(places)
    inside = places[profile >= profile.max() / 2]
    width = inside[-1] - inside[0]
    return places / width, (np.cumsum(profile) - profile / 2) / profile.sum()


def excited(places: Array) -> Array:
    """Magnetisation that the pulse turns into the transverse plane at places across the slice.

    Parameters
    ----------
    places : (n,) array
        Distances from the middle, in nominal thicknesses.

    Notes
    -----
    The pulse is taken as a row of instant rotations with precession between them, whose product is
    kept as Cayley-Klein parameters: exact for such a row, not only for small flip angles.
    """
    time = (np.arange(PULSE_SAMPLES) + 0.5) / PULSE_SAMPLES - 0.5
    pulse = np.sinc(TIME_BANDWIDTH * time) * (0.54 + 0.46 * np.cos(2 * np.pi * time))
    angles = np.pi / 2 * pulse / pulse.sum()
    precession = np.exp(-1j * np.pi * TIME_BANDWIDTH / PULSE_SAMPLES * places)  # half its angle
    alpha, beta = np.ones_like(precession), np.zeros_like(precession)
    for angle in angles:
        cosine, sine = np.cos(angle / 2), -1j * np.sin(angle / 2)
        alpha, beta = cosine * alpha + sine * beta, sine * alpha + cosine * beta
        alpha, beta = precession * alpha, beta / precession
    transverse: Array = 2 * np.abs(alpha.conj() * beta)
    return transverse
