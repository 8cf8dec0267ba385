"""Nothing is lost: results are replaced when asked, scans only when insisted."""

import nibabel as nib
import numpy as np
import pytest

from tdafd_cli.formats.files import SUFFIXES, files_written, read_volume, write_volume
from tdafd_cli.formats.marks import is_result

MADE = (".nii.gz", ".nii", ".hdr", ".mgz", ".mgh", ".nrrd", ".nhdr", ".mha", ".mhd", ".img")


def test_a_scan_in_the_place_of_the_output_is_kept(run, raw, scan):
    other = scan(raw / "other.nii.gz", 5)
    before = other.read_bytes()
    result = run(raw / "a.nii.gz", other, "--overwrite")
    assert result.exit_code == 1
    assert result.stderr == (
        f"error: {other}: exists and is no result of tdafd, so it may be a scan; choose another "
        "name, or insist with --overwrite-scans\n"
    )
    assert other.read_bytes() == before
    assert run(raw / "a.nii.gz", other, "--overwrite-scans").exit_code == 0
    assert other.read_bytes() != before


def test_scans_in_a_folder_of_results_are_kept(run, raw, upscaled, scan):
    scan(upscaled / "a.nii.gz", 7)
    before = (upscaled / "a.nii.gz").read_bytes()
    for _ in range(2):
        result = run(raw, upscaled, "--overwrite")
        assert result.exit_code == 1
        assert "insist with --overwrite-scans" in result.stderr
        assert (upscaled / "a.nii.gz").read_bytes() == before
    assert (upscaled / "b.nii").is_file()
    assert run(raw, upscaled, "--overwrite-scans").exit_code == 0
    assert (upscaled / "a.nii.gz").read_bytes() != before


def test_the_input_is_kept_however_one_insists(run, raw):
    before = (raw / "a.nii.gz").read_bytes()
    result = run(raw / "a.nii.gz", raw / "a.nii.gz", "--overwrite-scans")
    assert result.exit_code == 1
    assert "is the input, which is never replaced" in result.stderr
    assert (raw / "a.nii.gz").read_bytes() == before


def test_every_format_is_covered():
    assert set(MADE) == set(SUFFIXES)


@pytest.mark.parametrize("suffix", MADE)
def test_a_result_of_any_format_is_told_from_a_scan(run, raw, tmp_path, suffix):
    target, plain = tmp_path / f"high{suffix}", tmp_path / f"plain{suffix}"
    assert run(raw / "b.nii", target).exit_code == 0
    write_volume(plain, read_volume(raw / "b.nii"))
    assert is_result(files_written(target)[0])
    assert not is_result(files_written(plain)[0])
    assert run(raw / "b.nii", target, "--overwrite").exit_code == 0
    assert run(raw / "b.nii", plain, "--overwrite").exit_code == 1


def test_the_mark_of_a_series_is_found(run, raw, tmp_path, scan):
    series = scan(raw / "s.nii.gz", shape=(9, 8, 7, 3))
    assert run(series, tmp_path / "high.nii.gz").exit_code == 0
    assert is_result(tmp_path / "high.nii.gz")


def test_a_result_of_a_result_bears_one_mark(run, raw, tmp_path):
    once, twice = tmp_path / "once.nii", tmp_path / "twice.nii"
    assert run(raw / "b.nii", once).exit_code == 0
    assert run(once, twice).exit_code == 0
    assert len(nib.load(twice).header.extensions) == 1


def test_the_mark_changes_neither_voxels_nor_description(run, raw, tmp_path, scan):
    image = nib.load(raw / "b.nii")
    image.header["descrip"] = b"TE=3.1"
    nib.save(image, raw / "d.nii")
    assert run(raw / "d.nii", tmp_path / "high.nii").exit_code == 0
    high = nib.load(tmp_path / "high.nii")
    assert bytes(high.header["descrip"]).rstrip(b"\0") == b"TE=3.1"
    assert np.array_equal(np.asarray(high.dataobj), read_volume(tmp_path / "high.nii").data)
    freesurfer = tmp_path / "high.mgz"
    assert run(raw / "d.nii", freesurfer).exit_code == 0
    assert np.array_equal(np.asarray(nib.load(freesurfer).dataobj), np.asarray(high.dataobj))


@pytest.mark.parametrize("content", [b"", b"text", b"\0" * 400, b"NRRD0004\n"])
def test_what_cannot_be_read_is_no_result(tmp_path, content):
    path = tmp_path / "any.nii"
    path.write_bytes(content)
    assert not is_result(path)
    assert not is_result(tmp_path / "none.nii")
