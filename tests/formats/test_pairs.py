"""Pairs of files, of NIfTI and of Analyze."""

import gzip
import shutil

import nibabel
import numpy as np
import pytest
from drawn_volumes import random_stored, upscaled

from tdafd_cli.errors import VolumeError
from tdafd_cli.formats.files import open_scan, read_volume, write_volume

STORED = random_stored("int16", (5, 4, 3))


def saved(folder, kind, affine, stored=STORED):
    nibabel.save(kind(stored, affine), folder / "scan.hdr")
    return folder / "scan.hdr"


@pytest.mark.parametrize("kind", [nibabel.Nifti1Pair, nibabel.Nifti2Pair])
def test_either_file_of_a_nifti_pair_may_be_named(tmp_path, oblique_affine, kind):
    header = saved(tmp_path, kind, oblique_affine)
    for path in (header, header.with_suffix(".img")):
        volume = read_volume(path)
        np.testing.assert_array_equal(volume.data, STORED)
        np.testing.assert_allclose(volume.affine, oblique_affine, atol=1e-4)
    target = tmp_path / "high.nii.gz"
    write_volume(target, upscaled(volume))
    assert read_volume(target).shape == (10, 8, 6)


@pytest.mark.parametrize("start", [b"\0\0\0\x01", b"NRRD", b"\x5c\x01\0\0", b"CDF\x01", b"<"])
def test_voxels_that_start_like_another_format_are_voxels(tmp_path, start):
    stored = STORED.copy()
    flat = np.frombuffer(start.ljust(4, b"\0"), "<i2")
    stored[:2, 0, 0] = flat
    header = saved(tmp_path, nibabel.Nifti1Pair, np.eye(4), stored)
    assert header.with_suffix(".img").read_bytes().startswith(start)
    np.testing.assert_array_equal(read_volume(header.with_suffix(".img")).data, stored)


def test_names_may_be_in_capitals_and_files_gzipped(tmp_path):
    header = saved(tmp_path, nibabel.Nifti1Pair, np.eye(4))
    capital = tmp_path / "capital"
    capital.mkdir()
    shutil.copy(header, capital / "SCAN.HDR")
    zipped = gzip.compress(header.with_suffix(".img").read_bytes())
    (capital / "SCAN.IMG.gz").write_bytes(zipped)
    np.testing.assert_array_equal(read_volume(capital / "SCAN.HDR").data, STORED)
    np.testing.assert_array_equal(read_volume(capital / "SCAN.IMG.gz").data, STORED)


@pytest.mark.parametrize("missing", [".hdr", ".img"])
def test_half_of_a_pair_is_told(tmp_path, missing):
    header = saved(tmp_path, nibabel.Nifti1Pair, np.eye(4))
    header.with_suffix(missing).unlink()
    (left,) = tmp_path.iterdir()
    with pytest.raises(VolumeError, match=rf"half of a .hdr/.img pair, and scan\{missing} is not"):
        read_volume(left)


def test_analyze_without_a_place_has_no_orientation(tmp_path):
    path = saved(tmp_path, nibabel.AnalyzeImage, np.diag([-2.0, 3, 4, 1]))
    volume = read_volume(path.with_suffix(".img"))
    np.testing.assert_array_equal(volume.data, STORED)
    codes = volume.header["qform_code"], volume.header["sform_code"]
    assert codes == (0, 0)
    np.testing.assert_allclose(volume.affine, nibabel.load(path).affine)
    np.testing.assert_allclose(volume.voxel_size, (2, 3, 4))


def test_spm_s_matrix_places_an_analyze_volume(tmp_path, oblique_affine):
    path = saved(tmp_path, nibabel.Spm99AnalyzeImage, oblique_affine)
    assert path.with_suffix(".mat").is_file()
    volume = read_volume(path)
    np.testing.assert_allclose(volume.affine, oblique_affine, atol=1e-4)
    target = tmp_path / "high.nii"
    write_volume(target, upscaled(volume))
    assert nibabel.load(target).header["sform_code"] == 2


def test_spm_s_scaling_is_applied(tmp_path):
    image = nibabel.Spm2AnalyzeImage(STORED, np.diag([-1.0, 1, 1, 1]))
    image.header.set_data_dtype(np.int16)
    image.header["scl_slope"] = 0.5
    path = tmp_path / "scan.hdr"
    with path.open("wb") as file:
        image.header.write_to(file)
    path.with_suffix(".img").write_bytes(STORED.tobytes("F"))
    np.testing.assert_array_equal(read_volume(path).data, STORED / 2)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("datatype", 999, "unusable Analyze header"),
        ("datatype", 128, "one number per voxel, got a colour"),
        ("dim", [2, 5, 4, 0, 0, 0, 0, 0], "expected 3 dimensions"),
        ("dim", [3, 5, 4, 30, 1, 1, 1, 1], "cut short, with 120 of 1200 bytes"),
        ("pixdim", [1, np.nan, 1, 1, 1, 1, 1, 1], "invertible affine"),
    ],
)
def test_a_damaged_analyze_header_is_told_in_one_line(tmp_path, field, value, message, caplog):
    path = saved(tmp_path, nibabel.AnalyzeImage, np.diag([-2.0, 3, 4, 1]))
    header = nibabel.AnalyzeHeader(path.read_bytes()[:348], check=False)
    header[field] = value
    path.write_bytes(header.binaryblock)
    with pytest.raises(VolumeError, match=message) as caught:
        read_volume(path)
    assert len(str(caught.value).splitlines()) == 1
    assert not caplog.records


def test_a_series_of_pairs_is_read_volume_by_volume(tmp_path):
    stored = random_stored("int16", (5, 4, 3, 6))
    for kind in (nibabel.Nifti1Pair, nibabel.AnalyzeImage):
        scan = open_scan(saved(tmp_path, kind, np.diag([-2.0, 3, 4, 1]), stored))
        assert scan.count == 6
        (third,) = scan.volumes([2])
        np.testing.assert_array_equal(third.data, stored[..., 2])
