import pytest
import torch

from tdafd_cli.machine.memory import peak_memory, restart_peak_memory
from tdafd_cli.sampling import consistency
from tdafd_cli.sampling.consistency import (
    consistency_memory,
    make_consistent_,
    truncation_margin,
    was_truncated,
)
from tdafd_cli.sampling.degradation import BENCHMARK_DEGRADATIONS, Degradation, Profile, degrade

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
    estimate, low = textured(*SHAPE, seed=1), degrade(textured(*SHAPE), 2, "kspace")
    results = []
    for planes in (SHAPE[0], 5):
        monkeypatch.setattr(consistency, "SLAB_VOXELS", planes * SHAPE[1] * SHAPE[2])
        high = estimate.clone()
        make_consistent_(high, low, "kspace")
        results.append((high, torch.tensor(truncation_margin(estimate, low))))
    torch.testing.assert_close(results[0], results[1])


@pytest.mark.parametrize("offset", [-0.7, 0.3])
def test_what_counts_as_zero_does_not_matter(offset):
    estimate, low = textured(*SHAPE, seed=1), degrade(textured(*SHAPE), 2, "kspace")
    high, shifted = estimate.clone(), estimate + offset
    make_consistent_(high, low, "kspace")
    make_consistent_(shifted, low + offset, "kspace")
    torch.testing.assert_close(shifted - offset, high, atol=1e-4, rtol=0)


def test_ringing_that_the_magnitude_turned_up_is_no_error():
    truth = textured(*SHAPE) - 0.5  # half of it below zero, as ringing in air is
    low = degrade(truth, 2, "kspace")  # its magnitude
    told, untold = truth + 0.2, truth.clone()
    make_consistent_(told, low + 0.2, "kspace", zero=0.2)
    torch.testing.assert_close(told, truth + 0.2, atol=1e-3, rtol=0)
    make_consistent_(untold, low, "kspace")
    assert (untold - truth).abs().max() > 0.1


def test_share_goes_a_part_of_the_way():
    estimate, low = textured(*SHAPE, seed=1), degrade(textured(*SHAPE), 2, "kspace")
    whole, part = estimate.clone(), estimate.clone()
    make_consistent_(whole, low, "kspace")
    make_consistent_(part, low, "kspace", share=0.25)
    torch.testing.assert_close(part - estimate, (whole - estimate) / 4, atol=1e-5, rtol=0)


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
    generator = torch.Generator().manual_seed(0)
    low = torch.rand(shape, generator=generator)
    high = torch.rand([2 * n for n in shape], generator=generator)
    assert not was_truncated(high, low)
    before = (degrade(high, 2, "kspace") - low).abs().max()
    make_consistent_(high, low, "kspace")
    assert (degrade(high, 2, "kspace") - low).abs().max() < 0.1 * before


def test_memory_told_bounds_what_is_taken():
    shape, scale = (96, 96, 96), 2
    low, high = torch.rand(shape), torch.rand([scale * n for n in shape])

    def judge_and_correct() -> None:
        was_truncated(high, low)
        make_consistent_(high, low, "kspace")

    restart_peak_memory(torch.device("cpu"))
    before = peak_memory(torch.device("cpu"))
    judge_and_correct()
    taken = peak_memory(torch.device("cpu")) - before
    assert taken < consistency_memory(low.numel(), scale)


def test_air_is_not_judged():
    low = torch.zeros(8, 8, 8)
    assert not was_truncated(torch.zeros(16, 16, 16), low)
