from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import ndimage

from tdafd_cli.formats.files import read_volume
from tdafd_cli.inference.prediction import BEYOND, predict_volume
from tdafd_cli.inference.settings import InferenceSettings
from tdafd_cli.inference.trust import EXCESS, trust_findings, trust_in
from tdafd_cli.networks.limits import FALLOFF_LIMITS
from tdafd_cli.sampling.degradation import BENCHMARK_DEGRADATIONS, degrade, divisible
from tdafd_cli.sampling.interpolation import blend_interpolated_, interpolate
from tdafd_cli.sampling.matrices import apply_matrices, fourier_matrix, mirrored_fourier_matrix
from tdafd_cli.sampling.spectrum import BANDS, FEWEST_VOXELS, spectral_falloff
from tdafd_cli.volumes.intensity import intensity_range, normalise

EXAMPLE = Path(__file__).parents[2] / "examples" / "head_2mm.nii.gz"
SHAPE = (64, 64, 64)
SCALES = sorted(FALLOFF_LIMITS)
ONE_PASS = InferenceSettings("cpu", "fp32", ensemble=1, consistency="none")


@pytest.fixture(scope="module")
def head() -> torch.Tensor:
    data = read_volume(EXAMPLE).data
    return torch.from_numpy(normalise(data, intensity_range(data)))


def zero_filled(volume: torch.Tensor, factor: float, axes: tuple[int, ...]) -> torch.Tensor:
    kept = [round(n / factor) if axis in axes else n for axis, n in enumerate(volume.shape)]
    cut = [fourier_matrix(n, m) for n, m in zip(volume.shape, kept, strict=True)]
    filled = [fourier_matrix(m, n) for n, m in zip(volume.shape, kept, strict=True)]
    return apply_matrices(apply_matrices(volume, cut), filled).abs()


def trust_in_volume(volume: torch.Tensor, scale: int):
    return trust_in(spectral_falloff(volume[None, None])[0], tuple(volume.shape), scale)


@pytest.mark.parametrize("scale", SCALES)
def test_a_scan_is_trusted_as_it_is_and_under_every_degradation(head, scale):
    assert trust_in_volume(head, scale).share == 1
    if scale == 2:  # at others the example leaves too few voxels
        for kind in BENCHMARK_DEGRADATIONS:
            trust = trust_in_volume(degrade(divisible(head, scale), scale, kind), scale)
            assert (trust.share, trust.resolution) == (1, (1, 1, 1))


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("axes", [(0,), (1, 2), (0, 1, 2)])
def test_a_scan_zero_filled_from_half_is_told_along_the_axes_that_were(head, scale, axes):
    trust = trust_in_volume(zero_filled(head, 2, axes), scale)
    assert trust.share == 0
    for axis, factor in enumerate(trust.resolution):
        assert factor == (pytest.approx(2, rel=0.15) if axis in axes else 1)


@pytest.mark.parametrize("scale", SCALES)
def test_a_smoothed_scan_is_interpolated(head, scale):
    smooth = torch.from_numpy(ndimage.gaussian_filter(head.numpy(), 1.5))
    trust = trust_in_volume(smooth, scale)
    assert trust.share == 0
    assert all(factor > 1.5 for factor in trust.resolution)


def test_trust_fades_between_the_limits():
    falloff = torch.zeros(3, len(BANDS))
    lowest = FALLOFF_LIMITS[2][0][1]
    begin, end = EXCESS
    shares = []
    for excess in (begin - 0.01, (begin + end) / 2, end + 0.01):
        falloff[1, 1] = lowest - excess
        shares.append(trust_in(falloff, SHAPE, 2).share)
    assert shares == [1, pytest.approx(0.5), 0]


def test_noise_alone_is_left_to_a_bspline():
    noise = torch.rand((40, 40, 40), generator=torch.Generator().manual_seed(0))
    trust = trust_in_volume(noise, 2)
    assert (trust.share, trust.interpolation, trust.resolution) == (0, "bspline", (1, 1, 1))
    (finding,) = trust_findings(trust, (1, 1, 1), trust.share)
    assert "saw no scan so noisy" in finding.sentence
    high = torch.empty(80, 80, 80)
    blend_interpolated_(high, noise, 1, trust.interpolation)
    torch.testing.assert_close(high, interpolate(noise, 2, "bspline"), atol=1e-5, rtol=0)


def test_an_axis_of_few_voxels_is_not_judged():
    falloff = torch.full((3, len(BANDS)), -4.0)
    falloff[1:] = 0
    assert trust_in(falloff, (FEWEST_VOXELS - 1, 64, 64), 2).share == 1
    assert trust_in(falloff, (FEWEST_VOXELS, 64, 64), 2).share == 0


def test_a_finding_gives_the_resolution_in_millimetres(head):
    trust = trust_in_volume(zero_filled(head, 2, (0,)), 2)
    interpolated, fallback = trust_findings(trust, (0.95, 1.0, 1.0), trust.share)
    assert interpolated.figures["axes"] == ["I"]
    assert interpolated.figures["resolution_mm"] == [pytest.approx(1.9, rel=0.15)]
    assert "although its voxels are 0.95 mm" in interpolated.sentence
    assert fallback.figures == {"interpolation_share": 1, "interpolation": "sinc"}
    assert trust_findings(replace(trust, resolution=(1, 1, 1)), (1, 1, 1), 1) == []


def test_a_scan_too_smooth_is_interpolated_and_no_network_runs(tiny_network, head):
    smooth = torch.from_numpy(ndimage.gaussian_filter(head.numpy(), 2))[:40, :36, :32]
    high, execution = predict_volume(tiny_network, smooth, ONE_PASS)
    matrices = [mirrored_fourier_matrix(n, 2 * n) for n in smooth.shape]
    torch.testing.assert_close(high, apply_matrices(smooth, matrices), atol=1e-5, rtol=0)
    assert (execution.ensemble, execution.tiles, execution.network_share) == (0, 0, 0)


def test_a_scan_rather_smooth_is_blended(tiny_network, head):
    for sigma in np.linspace(0.4, 1.2, 17):
        smooth = torch.from_numpy(ndimage.gaussian_filter(head.numpy(), sigma))[:40, :36, :32]
        share = trust_in_volume(smooth, 2).share
        if 0.2 < share < 0.8:
            break
    high, execution = predict_volume(tiny_network, smooth, ONE_PASS)
    alone, _ = predict_volume(tiny_network, smooth, replace(ONE_PASS, fallback=False))
    matrices = [mirrored_fourier_matrix(n, 2 * n) for n in smooth.shape]
    expected = share * alone + (1 - share) * apply_matrices(smooth, matrices)
    margin = BEYOND * (smooth.max() - smooth.min())
    expected = expected.clamp(smooth.min() - margin, smooth.max() + margin)
    torch.testing.assert_close(high, expected, atol=1e-5, rtol=0)
    assert execution.network_share == share


def test_without_fallback_the_network_has_the_word(tiny_network, head):
    smooth = torch.from_numpy(ndimage.gaussian_filter(head.numpy(), 2))[:40, :36, :32]
    high, execution = predict_volume(tiny_network, smooth, replace(ONE_PASS, fallback=False))
    with torch.no_grad():
        torch.testing.assert_close(high, tiny_network(smooth[None, None])[0, 0])
    assert execution.network_share == 1
