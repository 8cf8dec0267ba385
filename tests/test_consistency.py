import pytest
import torch

from tdafd_cli import consistency
from tdafd_cli.consistency import make_consistent_, was_truncated
from tdafd_cli.degradation import BENCHMARK_DEGRADATIONS, Degradation, Profile, degrade

SHAPE = (48, 36, 60)


def textured(*shape: int, seed: int = 0) -> torch.Tensor:
    """Volume whose spectrum falls as anatomy's does."""
    noise = torch.randn(shape, generator=torch.Generator().manual_seed(seed))
    frequencies = torch.meshgrid(*(torch.fft.fftfreq(n) for n in shape), indexing="ij")
    radius = sum(f.square() for f in frequencies).sqrt().clamp(min=0.01)
    volume = torch.fft.ifftn(torch.fft.fftn(noise) / radius**1.5).real
    return 0.5 + 0.1 * volume / volume.std()


def alike(profile: Profile) -> Degradation:
    return Degradation((profile,) * 3)


@pytest.mark.parametrize("kind", BENCHMARK_DEGRADATIONS)
@pytest.mark.parametrize("scale", [2, 3, 4])
def test_result_comes_nearer_to_the_truth_and_to_the_scan(kind, scale):
    truth = textured(*SHAPE)
    low = degrade(truth, scale, kind)
    estimate = truth + 0.01 * torch.randn(SHAPE, generator=torch.Generator().manual_seed(1))
    high = estimate.clone()
    make_consistent_(high, low, kind)
    assert (high - truth).square().mean() < (estimate - truth).square().mean()
    left, missed = ((degrade(v, scale, kind) - low).square().mean() for v in (high, estimate))
    assert left < 0.1 * missed


def test_measured_frequencies_are_kept_and_the_others_untouched():
    truth, estimate = textured(*SHAPE), textured(*SHAPE, seed=1)
    low = degrade(truth, 2, "kspace")
    high = estimate.clone()
    make_consistent_(high, low, "kspace")
    change = torch.fft.fftn(high - estimate).abs()
    i, j, k = (torch.fft.fftfreq(n, 1 / n).abs() for n in SHAPE)
    measured = (i < 12)[:, None, None] & (j < 9)[:, None] & (k < 15)
    beyond = (i > 12)[:, None, None] | (j > 9)[:, None] | (k > 15)
    assert change[beyond].max() < 1e-4 * change[measured].max()
    torch.testing.assert_close(degrade(high, 2, "kspace"), low, atol=0.01, rtol=0)


def test_slabs_change_nothing(monkeypatch):
    truth = textured(*SHAPE)
    low = degrade(truth, 2, "gaussian")
    whole = torch.zeros(SHAPE)
    make_consistent_(whole, low, "gaussian")
    monkeypatch.setattr(consistency, "SLAB_VOXELS", 5 * SHAPE[1] * SHAPE[2])
    slabs = torch.zeros(SHAPE)
    make_consistent_(slabs, low, "gaussian")
    torch.testing.assert_close(slabs, whole)
    assert was_truncated(truth, degrade(truth, 2, "kspace"))


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_truncation_is_told_from_other_profiles(scale):
    truth = textured(*SHAPE)
    estimate = truth + 0.002 * torch.randn(SHAPE, generator=torch.Generator().manual_seed(1))
    assert was_truncated(estimate, degrade(truth, scale, "kspace"))
    others = [
        Profile("kspace", 0.5),
        Profile("hamming", 0.3),
        Profile("gaussian", 0.9),
        Profile("average", 1.1),
    ]
    for profile in others:
        assert not was_truncated(estimate, degrade(truth, scale, alike(profile))), profile
    mixed = Degradation((Profile("kspace", 0.0), Profile("kspace", 0.0), Profile("average", 1.0)))
    assert not was_truncated(estimate, degrade(truth, scale, mixed))


def test_noise_that_hides_the_profile_leaves_it_unsaid():
    truth = textured(*SHAPE)
    low = degrade(truth, 2, "kspace")
    low += 0.05 * torch.randn(low.shape, generator=torch.Generator().manual_seed(1))
    assert not was_truncated(truth, low)


@pytest.mark.parametrize("shape", [(1, 5, 9), (2, 2, 2), (2, 130, 6)])
def test_thin_volumes_are_judged_too(shape):
    low = torch.rand(shape)
    high = torch.rand([2 * n for n in shape])
    assert was_truncated(high, low) in (True, False)
    make_consistent_(high, low, "kspace")
    assert torch.isfinite(high).all()
