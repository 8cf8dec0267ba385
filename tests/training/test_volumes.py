from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest
import torch

from tdafd_cli.errors import DataError, VolumeError
from tdafd_cli.sampling.matrices import apply_matrices, fourier_matrix
from tdafd_cli.training.volumes import (
    Source,
    TrainingVolume,
    at_random_phase,
    load_volumes,
    random_box,
    sharpened,
    usable,
)


def save(path, shape=(6, 6, 6), seed=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    data = np.random.default_rng(seed).uniform(0, 100, shape).astype(np.float32)
    nib.save(nib.Nifti1Image(data, np.diag([0.8, 0.9, 1.0, 1.0])), path)


def test_low_voxels_fall_on_the_anatomy_in_every_way_there_is():
    volume = torch.arange(48 * 50 * 44.0).reshape(48, 50, 44)
    rng = np.random.default_rng(0)
    shifted = [at_random_phase(volume, (3, 3, 3), (16, 16, 16), rng) for _ in range(300)]
    assert len({float(part[0, 0, 0]) for part in shifted}) == 27
    assert {part.shape[0] for part in shifted} == {46, 47, 48}
    assert all(torch.equal(part[-1, -1], volume[-1, -1, -part.shape[2] :]) for part in shifted)


def test_a_volume_as_small_as_a_patch_is_not_made_smaller():
    volume = torch.rand((48, 49, 52))
    shapes = [
        at_random_phase(volume, (3, 3, 3), (48, 48, 48), np.random.default_rng(s)).shape
        for s in range(20)
    ]
    assert {shape[0] for shape in shapes} == {48}
    assert {shape[1] for shape in shapes} == {48, 49}
    assert min(shape[2] for shape in shapes) == 50


def test_boxes_are_of_every_size_and_off_the_outermost_voxels():
    volume = torch.arange(40 * 30 * 20.0).reshape(40, 30, 20)
    rng = np.random.default_rng(0)
    boxes = [random_box(volume, (16, 16, 16), rng) for _ in range(300)]
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
    shapes = {
        tuple(random_box(volume, (16, 16, 16), np.random.default_rng(s)).shape) for s in range(50)
    }
    assert {shape[:2] for shape in shapes} == {(12, 16)}


def test_sharpening_crops_to_the_size_asked_for():
    volume = TrainingVolume(torch.rand((40, 30, 20)), (1.0, 1.0, 2.0), 1.0, (0.0,))
    assert sharpened(volume, 1.5, (4, 4, 4)).shape == (27, 20, 20)
    assert sharpened(volume, 0.0, (4, 4, 4)) is volume.data
    assert sharpened(volume, 4.0, (16, 16, 16)).shape == (16, 16, 16)


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


def test_slices_are_only_made_along_axes_that_are_sharp(tmp_path):
    save(tmp_path / "one.nii", (40, 36, 12))
    [volume] = load_volumes(tmp_path, (Source(axes=("J",)),), 32)
    assert volume.axes == (1,)
    [turned] = usable([volume], (1, 1, 2), 12)
    assert turned.data.shape == (40, 12, 36)
    assert turned.voxel_size == pytest.approx((0.8, 1.0, 0.9))
    assert torch.equal(turned.data[5, 7], volume.data[5, :, 7])
    assert usable([volume], (2, 2, 2), 6) == []
    assert usable([volume], (1, 1, 4), 12) == []  # which takes 48


def test_a_volume_that_is_sharp_along_all_axes_serves_all_networks():
    volume = TrainingVolume(torch.rand((40, 30, 20)), (1.0, 1.0, 1.0), 6.0, (0.0,))
    assert usable([volume], (2, 2, 2), 8) == [volume]
    turned = usable([volume], (1, 1, 3), 8)
    assert [view.data.shape[2] for view in turned] == [40, 30]  # 20 is too short
    assert sum(view.weight for view in turned) == pytest.approx(4.0)


@pytest.mark.parametrize("axes", [(), ("X",)])
def test_axes_that_are_none_are_refused(axes):
    with pytest.raises(ValueError, match="axes must be of I, J, K"):
        replace(Source(), axes=axes)


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
