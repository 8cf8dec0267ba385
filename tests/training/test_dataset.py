from dataclasses import replace
from itertools import islice

import nibabel as nib
import numpy as np
import pytest
import torch

from tdafd_cli.errors import DataError, VolumeError
from tdafd_cli.sampling.degradation import MixtureSettings
from tdafd_cli.sampling.matrices import apply_matrices, fourier_matrix
from tdafd_cli.sampling.spectrum import BANDS, spectral_falloff
from tdafd_cli.training.augmentation import ContrastSettings
from tdafd_cli.training.dataset import (
    DatasetSettings,
    Pair,
    Source,
    TrainingVolume,
    at_random_phase,
    batches,
    cut_patch,
    load_volumes,
    make_pair,
    random_box,
    sharpened,
)
from tdafd_cli.training.processing import ProcessingSettings

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


def save(path, shape=(6, 6, 6), seed=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    data = np.random.default_rng(seed).uniform(0, 100, shape).astype(np.float32)
    nib.save(nib.Nifti1Image(data, np.diag([0.8, 0.9, 1.0, 1.0])), path)


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


def test_low_voxels_fall_on_the_anatomy_in_every_way_there_is():
    volume = torch.arange(48 * 50 * 44.0).reshape(48, 50, 44)
    rng = np.random.default_rng(0)
    shifted = [at_random_phase(volume, 3, 16, rng) for _ in range(300)]
    assert len({float(part[0, 0, 0]) for part in shifted}) == 27
    assert {part.shape[0] for part in shifted} == {46, 47, 48}
    assert all(torch.equal(part[-1, -1], volume[-1, -1, -part.shape[2] :]) for part in shifted)


def test_a_volume_as_small_as_a_patch_is_not_made_smaller():
    volume = torch.rand((48, 49, 52))
    shapes = [at_random_phase(volume, 3, 48, np.random.default_rng(s)).shape for s in range(20)]
    assert {shape[0] for shape in shapes} == {48}
    assert {shape[1] for shape in shapes} == {48, 49}
    assert min(shape[2] for shape in shapes) == 50


def test_boxes_are_of_every_size_and_off_the_outermost_voxels():
    volume = torch.arange(40 * 30 * 20.0).reshape(40, 30, 20)
    rng = np.random.default_rng(0)
    boxes = [random_box(volume, 16, rng) for _ in range(300)]
    assert {box.shape[0] for box in boxes} == set(range(16, 41))
    assert {box.shape[2] for box in boxes} == set(range(16, 21))
    places = [tuple(int(v) for v in torch.argwhere(volume == box[0, 0, 0])[0]) for box in boxes]
    for box, place in zip(boxes, places, strict=True):
        i, j, k = (slice(a, a + size) for a, size in zip(place, box.shape, strict=True))
        assert torch.equal(box, volume[i, j, k])
    assert {place[0] for place, box in zip(places, boxes, strict=True) if len(box) == 16} <= set(
        range(6, 19)
    )


def test_a_volume_smaller_than_the_smallest_box_is_left_whole():
    volume = torch.rand((12, 16, 20))
    shapes = {tuple(random_box(volume, 16, np.random.default_rng(s)).shape) for s in range(50)}
    assert {shape[:2] for shape in shapes} == {(12, 16)}


def test_pairs_are_cropped_as_often_as_asked_for():
    shapes = [
        tuple(make_pair(volumes(1), replace(PLAIN, crop_probability=share), 2, 0, index).high.shape)
        for share in (0.0, 0.5)
        for index in range(40)
    ]
    small = [max(a - b for a, b in zip((48, 50, 44), shape, strict=True)) > 2 for shape in shapes]
    assert not any(small[:40])
    assert 10 <= sum(small[40:]) <= 30


def test_sharpening_crops_to_the_size_asked_for():
    volume = TrainingVolume(torch.rand((40, 30, 20)), (1.0, 1.0, 2.0), 1.0, (0.0,))
    assert sharpened(volume, 1.5, 4).shape == (27, 20, 20)
    assert sharpened(volume, 0.0, 4) is volume.data
    assert sharpened(volume, 4.0, 16).shape == (16, 16, 16)


def test_without_sizes_a_volume_is_cropped_to_what_it_holds(tmp_path):
    sharp = torch.rand((48, 48, 48), generator=torch.Generator().manual_seed(0))
    soft = apply_matrices(
        apply_matrices(sharp, [fourier_matrix(48, 24), np.eye(48), np.eye(48)]),
        [fourier_matrix(24, 48), np.eye(48), np.eye(48)],
    )
    for name, data in (("sharp", sharp), ("soft", soft)):
        nib.save(
            nib.Nifti1Image(data.numpy(), np.diag((1.0, 2.0, 1.0, 1.0))), tmp_path / f"{name}.nii"
        )
    volumes = load_volumes(tmp_path, (Source(sizes_mm=()),), 16)
    assert volumes[0].data.shape == (48, 48, 48)
    assert 24 <= volumes[1].data.shape[0] <= 34
    assert volumes[1].data.shape[1:] == (48, 48)
    assert volumes[1].voxel_size == pytest.approx((48 / volumes[1].data.shape[0], 2.0, 1.0))
    assert [volume.sizes_mm for volume in volumes] == [(0.0,)] * 2
    assert load_volumes(tmp_path, (Source(sizes_mm=()),), 40)[1].data.shape[0] == 40


def test_first_matching_source_has_a_volume(tmp_path):
    save(tmp_path / "a" / "one.nii.gz")
    save(tmp_path / "b" / "two.nii")
    sources = (Source("a/*", 3.0, (1.5,)), Source("**/*", 1.0))
    loaded = load_volumes(tmp_path, sources)
    assert [(volume.weight, volume.sizes_mm) for volume in loaded] == [(3.0, (1.5,)), (1.0, (0.0,))]
    assert loaded[0].voxel_size == pytest.approx((0.8, 0.9, 1.0))
    assert 0.9 < float(loaded[0].data.max()) < 1.1


def test_missing_data_are_told(tmp_path):
    save(tmp_path / "one.nii")
    with pytest.raises(DataError, match="'b/\\*'"):
        load_volumes(tmp_path, (Source("b/*"),))


def test_a_volume_smaller_than_a_patch_is_named(tmp_path):
    save(tmp_path / "large.nii", (40, 36, 32))
    save(tmp_path / "small.nii", (40, 36, 31))
    with pytest.raises(DataError, match=r"small\.nii: shape \(40, 36, 31\) .* takes 32 voxels"):
        load_volumes(tmp_path, (Source(),), 32)
    assert len(load_volumes(tmp_path, (Source(),), 31)) == 2


def test_a_volume_that_is_none_is_left_out_and_told(tmp_path):
    save(tmp_path / "good.nii", (40, 36, 32))
    series = nib.Nifti1Image(np.zeros((4, 4, 4, 3), np.int16), np.eye(4))
    nib.save(series, tmp_path / "series.nii.gz")
    (tmp_path / "text.nii").write_text("no volume")
    told = []
    assert len(load_volumes(tmp_path, (Source(),), note=told.append)) == 1
    assert told[0].startswith(f"left out: {tmp_path / 'series.nii.gz'}: expected 3 dimensions")
    assert "text.nii: not a volume of any format" in told[1]
    (tmp_path / "good.nii").unlink()
    with pytest.raises(VolumeError, match=r"series\.nii\.gz: expected 3 dimensions"):
        load_volumes(tmp_path, (Source(),))
