import gzip

import nibabel
import numpy as np
import pytest
from drawn_volumes import random_stored

from tdafd_cli.errors import VolumeError
from tdafd_cli.formats.files import open_scan, read_volume


def written(folder, stored, edit=lambda header: None, *, affine=None):
    image = nibabel.MGHImage(stored, np.diag([1.0, 2, 3, 1]) if affine is None else affine)
    header = image.header.copy()
    edit(header)
    content = header.binaryblock[:90].ljust(284, b"\0") + stored.astype(
        stored.dtype.newbyteorder(">")
    ).tobytes("F")
    path = folder / "scan.mgh"
    path.write_bytes(content + header.binaryblock[90:])
    return path


def fields(**values):
    def edit(header):
        for name, value in values.items():
            header[name] = value

    return edit


@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint16", "int32", "float32"])
def test_every_type_is_read_exactly(tmp_path, dtype):
    stored = random_stored(dtype)
    volume = read_volume(written(tmp_path, stored))
    np.testing.assert_array_equal(volume.data, stored.astype(volume.data.dtype))
    assert volume.stored_dtype == np.dtype(dtype)


def test_frames_are_a_series_with_its_repetition_time(tmp_path):
    stored = random_stored("int16", (5, 4, 3, 6))
    scan = open_scan(written(tmp_path, stored, fields(tr=1500)))
    assert (scan.count, scan.header["pixdim"][4]) == (6, 1.5)
    for number, volume in enumerate(scan.volumes()):
        np.testing.assert_array_equal(volume.data, stored[..., number])


def test_a_file_without_what_follows_the_voxels_is_whole(tmp_path):
    path = written(tmp_path, random_stored("int16"))
    path.write_bytes(path.read_bytes()[: 284 + 120])
    assert read_volume(path).shape == (5, 4, 3)


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (fields(type=7), "numbers of MGH type 7, which is not known here; .*mri_convert"),
        (fields(dims=[5, 4, 0, 1]), r"no voxels, as its shape is \(5, 4, 0, 1\)"),
        (fields(dims=[5, -4, 3, 1]), "no voxels"),
        (fields(dims=[5, 4, 30, 1]), "cut short"),
        (fields(delta=[1, 0, 1]), "invertible affine, got the matrix"),
        (fields(Pxyz_c=[0, np.nan, 0]), "invertible affine, got the matrix"),
    ],
)
def test_a_damaged_header_is_told_in_one_line(tmp_path, edit, message):
    path = written(tmp_path, random_stored("int16"), edit)
    with pytest.raises(VolumeError, match=message) as caught:
        read_volume(path)
    assert str(caught.value).startswith(f"{path}: ")


@pytest.mark.parametrize("length", [5, 100, 283])
def test_a_file_cut_within_its_header_is_told(tmp_path, length):
    path = written(tmp_path, random_stored("int16"))
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(VolumeError, match="cut short within its header"):
        read_volume(path)


def test_gzip_damage_is_told(tmp_path):
    path = written(tmp_path, random_stored("int16"))
    zipped = gzip.compress(path.read_bytes())
    path.write_bytes(zipped[: len(zipped) // 2])
    with pytest.raises(VolumeError, match="gzip data cut short or damaged"):
        read_volume(path)
