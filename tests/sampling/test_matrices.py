import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

from tdafd_cli.sampling.matrices import (
    apply_matrices,
    average_matrix,
    bspline_matrix,
    centred_matrix,
    fourier_matrix,
    gaussian_matrix,
    lanczos_matrix,
    mirrored_fourier_matrix,
    nearest_matrix,
    nearest_places,
    sample_positions,
    trilinear_matrix,
)

INTERPOLATIONS = [
    nearest_matrix,
    trilinear_matrix,
    bspline_matrix,
    lanczos_matrix,
    fourier_matrix,
]


@pytest.mark.parametrize("matrix", INTERPOLATIONS)
@given(n=st.integers(1, 17), scale=st.integers(1, 4))
def test_a_constant_stays_constant(matrix, n, scale):
    np.testing.assert_allclose(matrix(n, n * scale).sum(axis=1), 1, atol=1e-12)


@pytest.mark.parametrize("matrix", INTERPOLATIONS)
@given(n=st.integers(1, 12))
def test_the_same_grid_gives_the_same_samples(matrix, n):
    np.testing.assert_allclose(matrix(n, n), np.eye(n), atol=1e-9)


@pytest.mark.parametrize("matrix", INTERPOLATIONS)
@given(n=st.integers(1, 12), scale=st.integers(2, 4))
def test_mirroring_the_input_mirrors_the_output(matrix, n, scale):
    if matrix is nearest_matrix and scale % 2 == 0:
        pytest.skip("ties go to the lower index")
    m = matrix(n, n * scale)
    np.testing.assert_allclose(m[::-1, ::-1], m, atol=1e-9)


def test_faces_stay_in_place():
    # The outer faces lie half a voxel beyond the outer centres, on both grids.
    fine = sample_positions(5, 15)
    assert fine[0] - (fine[1] - fine[0]) / 2 == pytest.approx(-0.5)
    assert fine[-1] + (fine[1] - fine[0]) / 2 == pytest.approx(4.5)


@given(n=st.integers(2, 15), scale=st.integers(2, 4), seed=st.integers(0, 99))
def test_bspline_agrees_with_scipy(n, scale, seed):
    samples = np.random.default_rng(seed).standard_normal(n)
    expected = ndimage.map_coordinates(
        samples, [sample_positions(n, n * scale)], order=3, mode="mirror"
    )
    np.testing.assert_allclose(bspline_matrix(n, n * scale) @ samples, expected, atol=1e-9)


@given(n=st.integers(2, 15), scale=st.integers(2, 4), seed=st.integers(0, 99))
def test_trilinear_agrees_with_scipy(n, scale, seed):
    samples = np.random.default_rng(seed).standard_normal(n)
    expected = ndimage.map_coordinates(
        samples, [sample_positions(n, n * scale)], order=1, mode="nearest"
    )
    np.testing.assert_allclose(trilinear_matrix(n, n * scale) @ samples, expected, atol=1e-9)


def phase_ramp_resampled(samples, n_out):
    """Resample by FFT to or from an odd number: cut or pad the spectrum, undo the offset."""
    n_in, kept = len(samples), min(len(samples), n_out)
    frequency = np.fft.fftfreq(n_in, 1 / n_in)
    spectrum = np.fft.fft(samples) * np.exp(-1j * np.pi * frequency / n_in)  # faces at 0
    out = np.zeros(n_out, complex)
    for f in range(-(kept // 2), (kept + 1) // 2):
        out[f % n_out] = spectrum[f % n_in]
    out *= np.exp(1j * np.pi * np.fft.fftfreq(n_out, 1 / n_out) / n_out)
    return np.fft.ifft(out).real * n_out / n_in


@pytest.mark.parametrize(("n_in", "n_out"), [(9, 18), (9, 27), (15, 5), (27, 9), (21, 7), (45, 33)])
def test_fourier_agrees_with_an_fft_and_a_phase_ramp(n_in, n_out):
    samples = np.random.default_rng(0).standard_normal(n_in)
    expected = phase_ramp_resampled(samples, n_out)
    np.testing.assert_allclose(fourier_matrix(n_in, n_out) @ samples, expected, atol=1e-9)


@given(n=st.integers(2, 24), scale=st.integers(2, 4))
def test_fourier_down_undoes_fourier_up(n, scale):
    there_and_back = fourier_matrix(n * scale, n) @ fourier_matrix(n, n * scale)
    if n % 2:  # the Nyquist frequency of an even grid is at a zero of the shifted samples
        np.testing.assert_allclose(there_and_back, np.eye(n), atol=1e-9)
    np.testing.assert_allclose(there_and_back.sum(axis=1), 1, atol=1e-9)


def test_a_cosine_within_the_band_is_reproduced_exactly():
    n, scale, cycles = 16, 3, 5
    low = np.cos(2 * np.pi * cycles * (np.arange(n) + 0.5) / n)
    high = np.cos(2 * np.pi * cycles * (np.arange(n * scale) + 0.5) / (n * scale))
    np.testing.assert_allclose(fourier_matrix(n, n * scale) @ low, high, atol=1e-9)
    np.testing.assert_allclose(fourier_matrix(n * scale, n) @ high, low, atol=1e-9)


@given(blocks=st.integers(1, 9), scale=st.integers(1, 5))
def test_average_is_the_mean_of_blocks(blocks, scale):
    samples = np.arange(blocks * scale) ** 2.0
    expected = samples.reshape(blocks, scale).mean(axis=1)
    np.testing.assert_allclose(average_matrix(blocks * scale, blocks) @ samples, expected)


def test_thick_slices_overlap():
    matrix = average_matrix(8, 4, width=1.5)
    np.testing.assert_allclose(matrix[1], np.array([0, 0.5, 1, 1, 0.5, 0, 0, 0]) / 3)


def test_gaussian_agrees_with_scipy():
    samples = np.random.default_rng(0).standard_normal(30)
    blurred = ndimage.gaussian_filter1d(samples, 1.0, mode="nearest")
    expected = ndimage.map_coordinates(blurred, [sample_positions(30, 10)], order=3, mode="mirror")
    np.testing.assert_allclose(gaussian_matrix(30, 10, 1.0) @ samples, expected, atol=1e-9)


def test_axes_get_their_own_matrices():
    volume = torch.rand((2, 4, 6, 3), generator=torch.Generator().manual_seed(0))
    matrices = [fourier_matrix(4, 8), average_matrix(6, 3), trilinear_matrix(3, 9)]
    expected = np.einsum("ai,bj,ck,xijk->xabc", *matrices, volume.numpy())
    np.testing.assert_allclose(apply_matrices(volume, matrices), expected, atol=1e-5)


def test_centred_resampling_to_half_the_edge_is_mirrored_zero_filling():
    np.testing.assert_allclose(
        centred_matrix(9, 18, 0.5), mirrored_fourier_matrix(9, 18), atol=1e-12
    )
    np.testing.assert_allclose(centred_matrix(9, 9, 1.0), np.eye(9), atol=1e-12)


@pytest.mark.parametrize(("n_out", "step"), [(33, 1 / 1.1), (27, 1.1), (50, 0.6), (19, 1.6)])
def test_centred_resampling_keeps_what_both_grids_can_hold(n_out, step):
    """A smooth wave is found again where the other grid's voxels lie."""
    n_in = 30
    places = (np.arange(n_out) - (n_out - 1) / 2) * step + (n_in - 1) / 2
    inside = np.abs(places - (n_in - 1) / 2) < n_in / 2 - 4

    def wave(at):
        return 0.3 + np.exp(-(((at - 13.7) / 3.5) ** 2)) * np.cos(0.7 * (at - 13.7))

    found = centred_matrix(n_in, n_out, step) @ wave(np.arange(n_in))
    np.testing.assert_allclose(found[inside], wave(places)[inside], atol=2e-3)
    np.testing.assert_allclose(centred_matrix(n_in, n_out, step).sum(axis=1), 1)


def test_centred_resampling_to_coarser_voxels_does_not_alias():
    fine = np.cos(np.pi * 0.9 * np.arange(40))  # at 0.9 of Nyquist
    assert np.abs(centred_matrix(40, 20, 2.0) @ fine)[3:-3].max() < 0.1  # or 1


def test_centred_nearest_voxels_are_those_of_the_plain_one():
    assert nearest_places(5, 15, 1 / 3).tolist() == np.repeat(np.arange(5), 3).tolist()
    assert nearest_places(10, 4, 2.4).tolist() == [1, 3, 6, 8]  # of 0.9, 3.3, 5.7 and 8.1
