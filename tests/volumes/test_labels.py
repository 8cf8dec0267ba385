from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from tdafd_cli.formats.files import read_volume
from tdafd_cli.volumes.labels import label_count

EXAMPLE = Path(__file__).parents[2] / "examples" / "head_2mm.nii.gz"


@pytest.fixture(scope="module")
def head() -> np.ndarray:
    data = read_volume(EXAMPLE).data
    return data / np.percentile(data, 99.9)


def blocks(shape: tuple[int, int, int]) -> tuple[slice, ...]:
    """The part of a volume that fills whole blocks of two voxels along each axis."""
    i, j, k = (n // 2 * 2 for n in shape)
    return np.s_[:i, :j, :k]


def test_a_mask_is_a_label_map_of_two(head):
    assert label_count((head > 0.3).astype(np.float32)) == 2
    assert label_count(np.where(head > 0.3, 0.7, -1.5)) == 2


def test_tissue_classes_are_labels(head):
    classes = np.digitize(ndimage.median_filter(head, 3), (0.1, 0.35, 0.6))
    assert label_count(classes.astype(np.float32)) == 4


def test_a_parcellation_is_labels(head):
    parcels = np.arange(10 * 13 * 13).reshape(10, 13, 13) % 97 * 11 % 97
    parcels = parcels.repeat(8, 0).repeat(8, 1).repeat(8, 2)[:80, :104, :103]
    assert label_count(np.where(head > 0.2, 1000 + parcels, 0)) == 98


def test_scans_are_not(head):
    assert label_count(head) == 0
    assert label_count(np.rint(1000 * head)) == 0
    assert label_count(np.rint(255 * np.clip(head, 0, 1))) == 0


@pytest.mark.parametrize("levels", [12, 16, 32, 64])
def test_a_scan_of_few_grey_levels_is_none(head, levels):
    assert label_count(np.rint(levels * np.clip(head, 0, 1))) == 0


def test_a_smooth_scan_of_few_grey_levels_is_none(head):
    smooth = ndimage.gaussian_filter(head, 3)
    assert label_count(np.rint(20 * np.clip(smooth, 0, 1))) == 0


def test_a_mask_averaged_to_coarser_voxels_is_none(head):
    mask = (head > 0.3)[blocks(head.shape)].astype(np.float32)
    i, j, k = (n // 2 for n in mask.shape)
    assert label_count(mask.reshape(i, 2, j, 2, k, 2).mean(axis=(1, 3, 5))) == 0


def test_probabilities_are_none(head):
    assert label_count(1 / (1 + np.exp(-20 * (head - 0.4)))) == 0


def test_an_empty_middle_does_not_hide_labels():
    data = np.zeros((80, 80, 80))
    data[:10, :10] = 1
    assert label_count(data) == 2
