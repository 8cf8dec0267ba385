import numpy as np
import pytest
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from tdafd_cli.evaluation.metrics import psnr, score, unit_range


def head(shape=(24, 22, 20), seed=0):
    """A bright shell around darker tissue, in an empty field."""
    rng = np.random.default_rng(seed)
    axes = np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij")
    radius = np.sqrt(sum(x**2 for x in axes))
    volume = np.where(radius < 0.7, np.where(radius < 0.25, 1.0, 60.0), 0.0)
    return (volume * rng.uniform(0.8, 1.2, shape)).astype(np.float32)


def test_scores_agree_with_scikit_image():
    reference = head()
    estimate = reference + np.random.default_rng(1).normal(0, 2, reference.shape)
    scores = score(reference, estimate)
    scaled, clipped = unit_range(reference, estimate)
    assert scores.psnr == pytest.approx(
        peak_signal_noise_ratio(scaled, clipped, data_range=1.0), abs=1e-6
    )
    assert scores.ssim == pytest.approx(
        structural_similarity(scaled, clipped, data_range=1.0), abs=1e-6
    )


def test_foreground_psnr_by_hand():
    reference, estimate = np.zeros((4, 4, 4)), np.zeros((4, 4, 4))
    reference[:2], estimate[:2] = 1.0, 0.9
    mask = reference > 0
    assert psnr(reference, estimate, mask) == pytest.approx(20.0)
    assert psnr(reference, estimate) == pytest.approx(20.0 + 10 * np.log10(2))


def test_empty_background_flatters_the_whole_volume_only():
    reference = head()
    estimate = np.where(reference > 0, reference + 3, 0)
    padded = [np.pad(volume, 12) for volume in (reference, estimate)]
    assert score(*padded).psnr > score(reference, estimate).psnr + 1
    assert score(*padded).psnr_foreground == pytest.approx(
        score(reference, estimate).psnr_foreground, abs=0.05
    )


def test_scores_do_not_depend_on_the_intensity_unit():
    reference = head()
    estimate = reference + np.random.default_rng(1).normal(0, 2, reference.shape)
    first, second = score(reference, estimate), score(reference * 7 + 100, estimate * 7 + 100)
    assert first.psnr == pytest.approx(second.psnr, abs=1e-4)
    assert first.ssim == pytest.approx(second.ssim, abs=1e-5)


def test_estimates_are_clipped_to_the_reference():
    reference = head()
    beyond = np.where(reference == reference.max(), 1e6, reference)
    assert score(reference, beyond).psnr == float("inf")


def test_a_constant_reference_is_refused():
    with pytest.raises(ValueError, match="constant"):
        unit_range(np.ones((3, 3, 3)), np.ones((3, 3, 3)))
