from dataclasses import replace

import numpy as np
import pytest
import torch

from tdafd_cli.sampling.degradation import (
    BENCHMARK_DEGRADATIONS,
    SLICE_DEGRADATIONS,
    Degradation,
    MixtureSettings,
    Profile,
    SliceSettings,
    degrade,
    divisible,
    random_degradation,
    random_slices,
)
from tdafd_cli.sampling.kinds import DEGRADATIONS
from tdafd_cli.sampling.kinds import SLICE_DEGRADATIONS as SLICE_KINDS

KINDS = list(BENCHMARK_DEGRADATIONS)


def test_benchmark_degradations_are_those_of_the_lists():
    assert tuple(BENCHMARK_DEGRADATIONS) == DEGRADATIONS
    assert tuple(SLICE_DEGRADATIONS) == SLICE_KINDS


def smooth_volume(shape=(24, 18, 12)):
    generator = torch.Generator().manual_seed(0)
    noise = torch.rand((1, 1, *shape), generator=generator)
    return torch.nn.functional.avg_pool3d(noise, 5, stride=1, padding=2)[0, 0]


def ellipsoid(shape, centre, radii):
    """A smooth-edged ellipsoid, and its centre in voxels."""
    axes = torch.meshgrid(*(torch.arange(n, dtype=torch.float64) for n in shape), indexing="ij")
    distance = sum(((x - c) / r) ** 2 for x, c, r in zip(axes, centre, radii, strict=True)).sqrt()
    return torch.sigmoid((1 - distance) * 12)


def centroid(volume):
    axes = torch.meshgrid(
        *(torch.arange(n, dtype=volume.dtype) for n in volume.shape), indexing="ij"
    )
    return np.array([float((x * volume).sum() / volume.sum()) for x in axes])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("scale", [2, 3, 4])
def test_low_grid_has_one_voxel_per_block(kind, scale):
    volume = divisible(smooth_volume(), scale)
    low = degrade(volume, scale, kind)
    assert low.shape == tuple(size // scale for size in volume.shape)


@pytest.mark.parametrize("kind", KINDS)
def test_a_constant_volume_stays_constant(kind):
    torch.testing.assert_close(
        degrade(torch.full((8, 8, 8), 3.0), 2, kind), torch.full((4,) * 3, 3.0)
    )


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("scale", [2, 3, 4])
def test_centroids_stay_in_place(kind, scale):
    centre = np.array([25.3, 22.8, 21.1])
    high = ellipsoid((48, 48, 48), centre, (9, 11, 8))
    low = degrade(high, scale, kind)
    moved_low_voxels = centroid(low) - ((centroid(high) + 0.5) / scale - 0.5)
    assert np.abs(moved_low_voxels).max() < 0.02


def test_kspace_agrees_with_a_cropped_spectrum():
    volume = torch.rand(
        (15, 15, 15), generator=torch.Generator().manual_seed(0), dtype=torch.float64
    )
    spectrum = np.fft.fftn(volume.numpy())
    kept = np.fft.ifftshift(np.fft.fftshift(spectrum)[5:10, 5:10, 5:10])
    frequency = np.fft.fftfreq(5, 1 / 5)
    for axis in range(3):  # from voxel 0 at the same place to faces at the same place
        ramp = np.exp(1j * np.pi * frequency * (1 / 5 - 1 / 15))
        kept = kept * np.expand_dims(ramp, [a for a in range(3) if a != axis])
    expected = np.abs(np.fft.ifftn(kept)) / 27
    np.testing.assert_allclose(degrade(volume, 3, "kspace"), expected, atol=1e-9)


def test_average_is_the_mean_of_blocks():
    volume = smooth_volume()
    expected = torch.nn.functional.avg_pool3d(volume[None], 2)[0]
    torch.testing.assert_close(degrade(volume, 2, "average"), expected)


def test_apodisation_weakens_ringing():
    edge = torch.zeros((32, 4, 4))
    edge[17:] = 1
    profiles = [Profile("hamming", 0.08), Profile("kspace", 0.5), Profile("kspace", 0.0)]
    overshoot = [
        float(degrade(edge, 2, Degradation((profile, profile, profile))).max())
        for profile in profiles
    ]
    assert overshoot == sorted(overshoot)
    assert overshoot[0] < 1.01 < 1.05 < overshoot[2]


def test_noise_is_rician():
    noisy = Degradation(BENCHMARK_DEGRADATIONS["average"].profiles, noise=0.05)
    volume = torch.zeros((40, 40, 40))
    volume[0, 0, 0] = 1.0
    low = degrade(volume, 2, noisy, torch.Generator().manual_seed(0))
    expected = 0.05 * (np.pi / 2) ** 0.5  # mean of a Rayleigh distribution
    assert float(low[1:].mean()) == pytest.approx(expected, rel=0.02)


def test_noise_repeats_with_its_generator():
    noisy = replace(BENCHMARK_DEGRADATIONS["kspace"], noise=0.02)
    first, second = (
        degrade(smooth_volume(), 2, noisy, torch.Generator().manual_seed(7)) for _ in range(2)
    )
    torch.testing.assert_close(first, second, rtol=0, atol=0)


def test_mixture_draws_what_its_probabilities_say():
    rng = np.random.default_rng(0)
    settings = MixtureSettings(kspace=0.5, gaussian=0.2, average=0.1, noise_probability=0.0)
    drawn = [random_degradation(rng, settings) for _ in range(2000)]
    for kind, probability in (("kspace", 0.5), ("gaussian", 0.2), ("average", 0.1)):
        share = np.mean([d == BENCHMARK_DEGRADATIONS[kind] for d in drawn])
        assert share == pytest.approx(probability, abs=0.04)


def test_mixture_repeats_with_its_seed():
    first, second = (
        [random_degradation(rng, MixtureSettings()) for _ in range(20)]
        for rng in (np.random.default_rng(3), np.random.default_rng(3))
    )
    assert first == second


def test_sizes_that_do_not_divide_are_refused():
    with pytest.raises(ValueError, match="not multiples of 2"):
        degrade(torch.rand((5, 4, 4)), 2, "average")


def test_divisible_keeps_voxel_zero():
    volume = smooth_volume((7, 8, 9))
    torch.testing.assert_close(divisible(volume, 3), volume[:6, :6, :9])


@pytest.mark.parametrize("kind", [*SLICE_DEGRADATIONS, *KINDS])
@pytest.mark.parametrize("factor", [2, 3, 4, 5, 6])
def test_thick_slices_stay_in_place(kind, factor):
    high = ellipsoid((20, 22, 60), np.array([9.3, 10.8, 29.1]), (5, 6, 16))
    low = degrade(high, (1, 1, factor), kind)
    assert low.shape == (20, 22, 60 // factor)
    expected = centroid(high)
    expected[2] = (expected[2] + 0.5) / factor - 0.5
    assert np.abs(centroid(low) - expected).max() < 0.02


@pytest.mark.parametrize("kind", SLICE_DEGRADATIONS)
def test_the_slice_axis_may_be_any(kind):
    high = smooth_volume()
    low = degrade(high, (1, 1, 3), kind)
    turned = degrade(high.movedim(2, 0), (3, 1, 1), kind)
    torch.testing.assert_close(turned.movedim(0, 2), low)


def test_planes_of_thick_slices_stay_as_they_are():
    plane = torch.rand((6, 5, 1), generator=torch.Generator().manual_seed(0))
    for kind in SLICE_DEGRADATIONS:
        low = degrade(plane.expand(6, 5, 12), (1, 1, 4), kind)
        torch.testing.assert_close(low, plane.expand(6, 5, 3))


def test_drawn_slices_are_of_every_kind():
    rng = np.random.default_rng(0)
    settings = SliceSettings(boxcar=0.4, gaussian=0.3, slr=0.2, exact=0.5)
    drawn = [random_slices(rng, settings, MixtureSettings()).profiles[2] for _ in range(2000)]
    shares = {kind: np.mean([p.kind == kind for p in drawn]) for kind in {p.kind for p in drawn}}
    expected = {"average": 0.4, "slice-gaussian": 0.3, "slice-slr": 0.2, "kspace": 0.1}
    assert shares == pytest.approx(expected, abs=0.04)
    exact = np.mean([p.parameter == 1.0 for p in drawn if p.kind != "kspace"])
    assert exact == pytest.approx(0.5, abs=0.04)
