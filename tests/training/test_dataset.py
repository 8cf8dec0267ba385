from dataclasses import replace
from itertools import islice

import numpy as np
import pytest
import torch

from tdafd_cli.sampling.degradation import MixtureSettings, SliceSettings
from tdafd_cli.sampling.spectrum import BANDS, spectral_falloff
from tdafd_cli.training.augmentation import ContrastSettings
from tdafd_cli.training.dataset import (
    DatasetSettings,
    Pair,
    batches,
    cut_patch,
    make_pair,
)
from tdafd_cli.training.processing import ProcessingSettings
from tdafd_cli.training.volumes import TrainingVolume

SETTINGS = DatasetSettings(patch=16, batch=4, pool=3, steps_per_pair=2)
PLAIN = replace(
    SETTINGS,
    degradation=MixtureSettings(0.0, 0.0, 1.0, noise_probability=0.0),
    contrast=ContrastSettings(0.0, 0.0, 0.0, 0.0, 0.0),
)


def volumes(count=2, shape=(48, 50, 44)):
    generator = torch.Generator().manual_seed(0)
    made = []
    for _ in range(count):
        data = torch.zeros(shape)
        inner = tuple(size - 8 for size in shape)
        data[4:-4, 4:-4, 4:-4] = 0.3 + 0.7 * torch.rand(inner, generator=generator)
        made.append(TrainingVolume(data, (1.0, 1.0, 1.0), 1.0, (0.0,)))
    return made


def test_batches_have_low_and_high_patches():
    low, high, falloff, _ = next(batches(volumes(), SETTINGS, scale=2, seed=0))
    assert falloff.shape == (4, 3, len(BANDS))
    assert low.shape == (4, 1, 16, 16, 16)
    assert high.shape == (4, 1, 32, 32, 32)
    assert torch.isfinite(low).all()
    assert torch.isfinite(high).all()


def test_low_and_high_patches_show_the_same_place():
    pairs = [make_pair(volumes(), PLAIN, 2, 0, index) for index in range(3)]
    for seed, pair in enumerate(pairs):
        low, high, _ = cut_patch(pair, PLAIN, 2, np.random.default_rng(seed))
        torch.testing.assert_close(torch.nn.functional.avg_pool3d(high[None], 2)[0], low)


def test_a_pair_tells_the_fall_off_of_its_whole_low_volume():
    pair = make_pair(volumes(), PLAIN, 2, 0, 0)
    assert pair.low.shape == (23, 24, 22)  # of (48, 50, 44) from voxel (1, 1, 0) on
    assert torch.equal(pair.falloff, spectral_falloff(pair.low[None, None])[0])


def test_the_fall_off_turns_with_its_patch():
    marks = torch.arange(3.0)[:, None].expand(3, len(BANDS))  # each axis tells its number
    ramp = torch.arange(16.0)
    low = ramp[:, None, None] + 16 * ramp[:, None] + 256 * ramp
    pair = Pair(low, torch.rand((32, 32, 32)), torch.empty((0, 3)), marks)
    for seed in range(6):
        low, _, falloff = cut_patch(pair, PLAIN, 2, np.random.default_rng(seed))
        steps = [float(low.diff(dim=axis).abs().mean()) for axis in range(3)]
        assert [16.0**number for number in falloff[:, 0].tolist()] == pytest.approx(steps)


@pytest.mark.parametrize("first_step", [1, 4, 5])
def test_batches_resume_where_they_stopped(first_step):
    unbroken = islice(batches(volumes(), SETTINGS, scale=2, seed=0), first_step, first_step + 3)
    resumed = batches(volumes(), SETTINGS, scale=2, seed=0, first_step=first_step)
    for batch, again in zip(unbroken, islice(resumed, 3), strict=True):
        assert all(torch.equal(a, b) for a, b in zip(batch, again, strict=True))


def test_workers_change_nothing_but_time():
    alone = islice(batches(volumes(), SETTINGS, scale=2, seed=0), 5)
    ahead = islice(batches(volumes(), replace(SETTINGS, workers=2), scale=2, seed=0), 5)
    assert all(torch.equal(a[1], b[1]) for a, b in zip(alone, ahead, strict=True))


def test_processed_pairs_say_so_and_others_stay_as_they_were():
    plain = make_pair(volumes(), PLAIN, 2, seed=0, index=0)
    never = replace(PLAIN, processing=ProcessingSettings(0.0, 0.0))
    always = replace(PLAIN, processing=ProcessingSettings(1.0, 0.0))
    spoilt = replace(PLAIN, processing=ProcessingSettings(0.0, 1.0))
    assert not plain.processed
    assert torch.equal(make_pair(volumes(), never, 2, seed=0, index=0).low, plain.low)
    smooth = make_pair(volumes(), always, 2, seed=0, index=0)
    assert smooth.processed
    assert not torch.equal(smooth.high, plain.high)
    assert make_pair(volumes(), spoilt, 2, seed=0, index=0).processed
    assert next(batches(volumes(), always, scale=2, seed=0)).processed.tolist() == [True] * 4


def test_a_volume_without_tissue_makes_a_pair():
    dark = [replace(each, data=1e-6 * each.data - 1) for each in volumes()]
    settings = replace(PLAIN, processing=ProcessingSettings(1.0, 0.0))
    for index in range(12):
        pair = make_pair(dark, settings, 2, seed=0, index=index)
        assert pair.centres.shape[1] == 3
        assert cut_patch(pair, settings, 2, np.random.default_rng(0))[0].shape == (16, 16, 16)


def test_processes_share_a_batch():
    whole, *_ = next(batches(volumes(), SETTINGS, scale=2, seed=0))
    shares = [
        next(batches(volumes(), SETTINGS, scale=2, seed=0, rank=rank, processes=2))[0]
        for rank in range(2)
    ]
    assert torch.equal(torch.stack(shares, dim=1).flatten(0, 1), whole)


def test_seeds_differ():
    first, second = (next(batches(volumes(), SETTINGS, scale=2, seed=seed))[0] for seed in (0, 1))
    assert not torch.equal(first, second)


def test_patches_prefer_tissue():
    tissue = torch.zeros((96, 96, 96))
    tissue[:24, :24, :24] = torch.rand((24, 24, 24), generator=torch.Generator().manual_seed(0))
    volume = TrainingVolume(tissue, (1.0, 1.0, 1.0), 1.0, (0.0,))
    pair = make_pair([volume], PLAIN, 2, 0, 0)
    rng = np.random.default_rng(0)
    with_tissue = [
        bool(cut_patch(pair, replace(PLAIN, foreground=1.0), 2, rng)[0].any()) for _ in range(30)
    ]
    assert all(with_tissue)


def test_pairs_are_cropped_as_often_as_asked_for():
    shapes = [
        tuple(make_pair(volumes(1), replace(PLAIN, crop_probability=share), 2, 0, index).high.shape)
        for share in (0.0, 0.5)
        for index in range(40)
    ]
    small = [max(a - b for a, b in zip((48, 50, 44), shape, strict=True)) > 2 for shape in shapes]
    assert not any(small[:40])
    assert 10 <= sum(small[40:]) <= 30


SLICES = (1, 1, 3)


def test_slices_are_last_whatever_axis_is_degraded():
    """Along the axis that is sharp alone, which is here the first of the file."""
    volume = replace(volumes(1, (50, 18, 16))[0], axes=(0,))
    plain = SliceSettings(boxcar=1.0, exact=1.0, in_plane=0.0, elongated=0.0)
    settings = replace(PLAIN, slices=plain)
    pair = make_pair([volume], settings, SLICES, seed=0, index=0)
    assert tuple(pair.low.shape) == (18, 16, 16)
    assert tuple(pair.high.shape) == (18, 16, 48)
    torch.testing.assert_close(pair.low, pair.high.reshape(18, 16, 16, 3).mean(-1))
    assert torch.equal(pair.falloff, spectral_falloff(pair.low[None, None])[0])


def test_every_sharp_axis_is_degraded_in_its_turn():
    volume = replace(volumes(1, (50, 52, 48))[0], axes=(0, 2))
    settings = replace(PLAIN, slices=SliceSettings(elongated=0.0))
    shapes = [make_pair([volume], settings, SLICES, 0, index).high.shape for index in range(20)]
    planes = {tuple(shape[:2]) for shape in shapes}
    assert planes == {(52, 48), (50, 52)}


def test_turned_slices_stay_slices():
    plain = replace(PLAIN, slices=SliceSettings(boxcar=1.0, exact=1.0, untold=0.0))
    pairs = [make_pair(volumes(), plain, SLICES, 0, index) for index in range(3)]
    seen = set()
    for seed in range(12):
        pair = pairs[seed % 3]
        low, high, falloff = cut_patch(pair, plain, SLICES, np.random.default_rng(seed))
        assert high.shape == (16, 16, 48)
        torch.testing.assert_close(high.reshape(16, 16, 16, 3).mean(-1), low)
        assert torch.equal(falloff[2], pair.falloff[2])
        seen.add(torch.equal(falloff[0], pair.falloff[0]))
    assert seen == {True, False}  # the axes of the plane change places


def test_too_few_slices_tell_no_fall_off():
    untold = replace(PLAIN, slices=SliceSettings(untold=1.0))
    pair = make_pair(volumes(), untold, SLICES, 0, 0)
    assert not pair.falloff[2].any()
    assert pair.falloff[:2].any()


def test_soft_planes_are_soft_in_the_target_too():
    soft = SliceSettings(in_plane=1.0, elongated=0.0, in_plane_voxels=(1.6, 1.7))
    hard = replace(soft, in_plane=0.0)
    of_planes = [
        spectral_falloff(
            make_pair(volumes(), replace(PLAIN, slices=s), SLICES, 0, 0).high[None, None]
        )
        for s in (soft, hard)
    ]
    fallen = (of_planes[0] - of_planes[1])[0, :, -1]
    assert float(fallen[:2].min()) < -1.0
    assert abs(float(fallen[2])) < 0.5


def test_longer_voxels_along_the_slices_keep_a_patch():
    volume = volumes(1, (50, 52, 64))
    settings = replace(PLAIN, slices=SliceSettings(elongated=1.0, elongation=(1.5, 2.0)))
    shapes = {make_pair(volume, settings, SLICES, 0, n).high.shape[2] for n in range(12)}
    assert shapes == {48}


def test_batches_of_slices_tell_their_factors():
    batch = next(batches(volumes(), SETTINGS, scale=SLICES, seed=0))
    assert batch.factors == SLICES
    assert next(batches(volumes(), SETTINGS, scale=2, seed=0)).factors == (2, 2, 2)
