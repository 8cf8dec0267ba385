from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tdafd_cli.formats.files import read_volume
from tdafd_cli.sampling.matrices import trilinear_matrix
from tdafd_cli.volumes.defects import Defects, find_defects, mended, restore_defects_

EXAMPLE = Path(__file__).parents[2] / "examples" / "head_2mm.nii.gz"


@pytest.fixture(scope="module")
def head() -> np.ndarray:
    return read_volume(EXAMPLE).data


def trilinear(volume: np.ndarray, scale: int) -> np.ndarray:
    for axis in range(3):
        matrix = trilinear_matrix(volume.shape[axis], scale * volume.shape[axis])
        volume = np.moveaxis(np.tensordot(matrix, volume, (1, axis)), 0, axis)
    return volume


def test_an_ordinary_head_has_no_defects(head):
    assert not find_defects(head)


@pytest.mark.parametrize("factor", [5, 1000, -1000])
def test_stray_voxels_are_found_wherever_they_are(head, factor):
    rng = np.random.default_rng(0)
    places = {tuple(int(rng.integers(n)) for n in head.shape) for _ in range(10)}
    spoilt = head.copy()
    for place in places:
        spoilt[place] = factor * head.max()
    assert {tuple(voxel) for voxel in find_defects(spoilt).voxels.tolist()} == places


def test_two_stray_voxels_side_by_side_are_one_spot(head):
    spoilt = head.copy()
    spoilt[40, 50, 50:52] = 100 * head.max()
    assert find_defects(spoilt).voxels.tolist() == [[40, 50, 50], [40, 50, 51]]


def test_a_bright_vessel_is_no_stray_voxel(head):
    vessel = np.zeros_like(head)
    vessel[40, 50, 40:60] = 4 * np.percentile(head, 99.9)
    for axis in range(3):  # as a scanner's point spread does
        vessel = np.apply_along_axis(np.convolve, axis, vessel, [0.25, 0.5, 0.25], "same")
    assert not find_defects(head + 4 * vessel)


def test_too_many_are_an_object(head):
    spoilt = head.copy()
    spoilt[::4, ::4, ::4] = 1000 * head.max()
    assert len(find_defects(spoilt).voxels) == 0


def test_a_void_in_tissue_is_found_and_one_in_air_is_not(head):
    spoilt = head - head.min() + 1
    bright = spoilt > 0.3 * np.percentile(spoilt, 99.9)
    inner = bright.copy()
    for axis in range(3):
        for shift in (-2, -1, 1, 2):
            inner &= np.roll(bright, shift, axis)
    place = tuple(np.argwhere(inner)[100])
    spoilt[place] = spoilt[0, 0, 0] = 0
    assert find_defects(spoilt).voxels.tolist() == [list(place)]


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("value", [0.0, 55.0])
def test_dropped_slices_are_found(head, axis, value):
    spoilt = head.copy()
    slices = np.moveaxis(spoilt, axis, 0)
    slices[[30, 50, 51]] = value
    assert find_defects(spoilt).slices == ((axis, 30), (axis, 50), (axis, 51))


def test_air_beside_the_head_is_no_dropped_slice(head):
    padded = np.pad(head, 5)
    assert not find_defects(padded)


def test_mending_interpolates_slices_and_takes_medians(head):
    spoilt = head.copy()
    spoilt[:, :, 40] = 0
    spoilt[20, 30, 60] = 1e6
    good = mended(spoilt, find_defects(spoilt))
    np.testing.assert_allclose(good[:, :, 40], (head[:, :, 39] + head[:, :, 41]) / 2, rtol=1e-5)
    around = head[19:22, 29:32, 59:62].ravel()
    assert good[20, 30, 60] == np.median(np.delete(around, 13))
    changed = good != spoilt
    changed[:, :, 40] = changed[20, 30, 60] = False
    assert not changed.any()


def test_a_spot_alone_in_its_surroundings_gets_the_volumes_median():
    data = np.arange(27.0).reshape(3, 3, 3)
    voxels = np.argwhere(data < 26)
    assert np.unique(mended(data, Defects(voxels))).size <= 2 + 1


def test_without_defects_the_volume_itself_comes_back(head):
    assert mended(head, Defects()) is head


@given(
    voxels=st.lists(st.tuples(st.integers(0, 5), st.integers(0, 6), st.integers(0, 4)), max_size=4),
    slices=st.sets(st.tuples(st.integers(0, 2), st.integers(1, 3)), max_size=3),
    scale=st.integers(2, 4),
)
def test_what_defects_held_comes_back_as_trilinear_interpolation_gives_it(voxels, slices, scale):
    rng = np.random.default_rng(0)
    data, good = rng.random((2, 6, 7, 5))
    voxels = np.array(sorted(set(voxels)), np.intp).reshape(-1, 3)
    kept = np.zeros(data.shape, bool)
    kept[tuple(voxels.T)] = True
    for axis, index in slices:
        np.moveaxis(kept, axis, 0)[index] = True
    good = np.where(kept, good, data)
    high = np.zeros([scale * n for n in data.shape])
    restore_defects_(high, data, good, Defects(voxels, tuple(sorted(slices))))
    np.testing.assert_allclose(high, trilinear(data - good, scale), atol=1e-12)
