import numpy as np
import pytest
from drawn_volumes import random_stored
from hypothesis import given
from hypothesis import strategies as st

from tdafd_cli.errors import VolumeError
from tdafd_cli.formats.files import open_scan


@given(numbers=st.sets(st.integers(0, 5), min_size=1))
def test_any_ascending_volumes_are_read_in_one_go(make_nifti, numbers):
    stored = random_stored("int16", (3, 4, 2, 6))
    for name in ("scan.nii", "scan.nii.gz"):
        scan = open_scan(make_nifti(stored, name=name, scaling=(0.5, 1.0)))
        assert (scan.count, scan.shape) == (6, (3, 4, 2))
        for number, volume in zip(sorted(numbers), scan.volumes(sorted(numbers)), strict=True):
            np.testing.assert_array_equal(volume.data, stored[..., number] * 0.5 + 1)
            assert volume.header["dim"].tolist()[:4] == [3, 3, 4, 2]


def test_only_one_volume_is_one(make_nifti):
    scan = open_scan(make_nifti(random_stored("int16", (3, 4, 2, 6))))
    with pytest.raises(VolumeError, match=r"3 dimensions, got shape \(3, 4, 2, 6\); split it"):
        scan.only_volume()
    assert scan.only_volume([4]).shape == (3, 4, 2)


def test_the_volume_that_is_bad_is_named(make_nifti):
    stored = random_stored("float32", (3, 4, 2, 3))
    stored[..., 1] = 7
    scan = open_scan(make_nifti(stored))
    with pytest.raises(VolumeError, match=r"\.nii, volume 1: all 24 voxels are 7"):
        list(scan.volumes())
    assert len(list(scan.volumes([0, 2]))) == 2
