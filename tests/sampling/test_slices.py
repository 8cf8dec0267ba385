import numpy as np
import pytest

from tdafd_cli.sampling.matrices import average_matrix
from tdafd_cli.sampling.slices import CUMULATIVE, FWHM_PER_SIGMA, excited, slice_matrix

FINE = 200  # thin slices per thick one: a profile drawn with many points


@pytest.mark.parametrize("profile", CUMULATIVE)
@pytest.mark.parametrize("thickness", [0.7, 0.8, 1.0, 1.15])
@pytest.mark.parametrize("factor", [2, 3, 4, 5, 6])
def test_every_slice_is_centred(profile, thickness, factor):
    matrix = slice_matrix(15 * factor, 15, profile, thickness)
    np.testing.assert_allclose(matrix.sum(axis=1), 1)
    middles = (matrix @ np.arange(15 * factor) + 0.5) / factor - 0.5
    np.testing.assert_allclose(middles[4:-4], np.arange(15)[4:-4], atol=1e-3)


@pytest.mark.parametrize("profile", CUMULATIVE)
@pytest.mark.parametrize("thickness", [0.7, 1.0])
def test_a_profile_is_as_wide_as_asked_at_half_maximum(profile, thickness):
    drawn = slice_matrix(9 * FINE, 9, profile, thickness)[4]
    width = np.count_nonzero(drawn >= drawn.max() / 2) / FINE
    assert width == pytest.approx(thickness, abs=0.011)


def test_a_boxcar_averages():
    np.testing.assert_allclose(slice_matrix(24, 6, "boxcar", 0.8), average_matrix(24, 6, 0.8))


def test_a_gaussian_is_one():
    drawn = slice_matrix(9 * FINE, 9, "gaussian", 1.0)[4] * FINE
    places = (np.arange(9 * FINE) + 0.5) / FINE - 4.5
    sigma = 1 / FWHM_PER_SIGMA
    expected = np.exp(-0.5 * (places / sigma) ** 2) / (sigma * np.sqrt(2 * np.pi))
    np.testing.assert_allclose(drawn, expected, atol=1e-4)


def test_the_pulse_turns_the_middle_by_ninety_degrees_and_leaves_far_places_alone():
    profile = excited(np.array([-2.0, -0.2, 0.0, 0.2, 2.0]))
    assert profile[1:4] == pytest.approx(1.0, abs=0.01)  # a flat top
    assert profile[[0, 4]] == pytest.approx(0.0, abs=0.01)


def test_a_small_flip_follows_the_fourier_transform_of_its_pulse():
    """At a large one it does not: the profile's sides are steeper than the transform's."""
    places = np.linspace(0, 1, 101)
    time = np.linspace(-0.5, 0.5, 4001)
    pulse = np.sinc(4 * time) * (0.54 + 0.46 * np.cos(2 * np.pi * time))
    transform = np.abs(np.exp(-2j * np.pi * 4 * places[:, None] * time) @ pulse)
    transform /= transform[0]
    profile = excited(places)

    def width(curve):
        return places[curve > 0.1][-1] - places[curve > 0.9][-1]

    assert np.abs(profile - np.sin(np.pi / 2 * transform)).max() < 0.12
    assert width(profile) < 1.1 * width(transform)
