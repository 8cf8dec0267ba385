from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tdafd_cli.formats.files import read_volume
from tdafd_cli.volumes.defects import Defects
from tdafd_cli.volumes.findings import (
    label_findings,
    noise_findings,
    slice_findings,
    volume_findings,
)
from tdafd_cli.volumes.volume import Volume

EXAMPLE = Path(__file__).parents[2] / "examples" / "head_2mm.nii.gz"
CUBE = np.random.default_rng(0).random((20, 20, 20)).astype(np.float32)


def codes(volume: Volume, defects: Defects | None = None) -> list[str]:
    return [finding.code for finding in volume_findings(volume, defects or Defects())]


def only(volume: Volume, defects: Defects | None = None):
    (finding,) = volume_findings(volume, defects or Defects())
    assert "\n" not in finding.sentence
    return finding


def test_an_ordinary_scan_has_none():
    assert codes(read_volume(EXAMPLE)) == []


def test_thick_slices_are_told_with_their_size(make_nifti):
    finding = only(read_volume(make_nifti(CUBE, np.diag([0.9, 0.9, 5, 1]))))
    assert finding.code == "thick-slices"
    assert "0.9 x 0.9 x 5 mm" in finding.sentence
    assert finding.figures["ratio"] == pytest.approx(5.56)
    assert "--spacing 0.9" in finding.sentence


def test_the_axis_of_the_slices_is_no_news_where_it_is_made_finer(make_nifti):
    volume = read_volume(make_nifti(CUBE, np.diag([0.9, 0.9, 5, 1])))
    assert volume_findings(volume, Defects(), 2) == []
    (finding,) = volume_findings(volume, Defects(), 0)
    assert finding.code == "slice-axis"
    assert "longest along K" in finding.sentence


@pytest.mark.parametrize(
    ("thickness", "code"), [(4.0, ["slice-gap"]), (5.1, []), (6.0, ["slice-overlap"])]
)
def test_gaps_and_overlaps_are_told(thickness, code):
    found = list(slice_findings((0.9, 0.9, 5.0), 2, thickness))
    assert [finding.code for finding in found] == code
    assert all("along K" in finding.sentence for finding in found)


def test_interleaved_slices_are_told(make_nifti):
    stored = np.random.default_rng(0).integers(400, 600, (16, 16, 16)).astype(np.int16)
    stored[..., 1::2] += 50
    volume = read_volume(make_nifti(stored, np.diag([0.9, 0.9, 4, 1])))
    assert [each.code for each in volume_findings(volume, Defects(), 2)] == ["interleaved"]
    assert [each.code for each in volume_findings(volume, Defects())] == [
        "thick-slices",
        "interleaved",
    ]


def test_a_small_field_of_view_is_told(make_nifti):
    finding = only(read_volume(make_nifti(CUBE[:, :, :9], np.eye(4))))
    assert finding.code == "small-field"
    assert "only 9 along K voxels" in finding.sentence


def test_a_header_without_orientation_is_told(make_nifti):
    volume = read_volume(make_nifti(CUBE, np.eye(4), codes=(0, 0)))
    assert codes(volume) == ["no-orientation"]


def test_forms_that_disagree_are_told(make_nifti):
    moved = np.eye(4)
    moved[:3, 3] = 3, 4, 0
    volume = read_volume(
        make_nifti(CUBE, np.eye(4), edit=lambda header: header.set_sform(moved, code=1))
    )
    finding = only(volume)
    assert finding.code == "forms-disagree"
    assert finding.figures["apart_mm"] == pytest.approx(5)
    assert codes(read_volume(make_nifti(CUBE, moved))) == []


def test_hounsfield_units_are_told(make_nifti):
    assert codes(read_volume(make_nifti(1500 * CUBE - 1000, np.eye(4)))) == ["ct"]


def test_a_volume_mostly_of_one_value_is_told(make_nifti):
    data = np.zeros((40, 40, 40), np.float32)
    data[:8, :8, :8] = CUBE[:8, :8, :8]
    finding = only(read_volume(make_nifti(data, np.eye(4))))
    assert finding.code == "one-value"
    assert finding.sentence.startswith("99.2% of the voxels are 0: ")


def test_defects_come_first_with_their_number(make_nifti):
    volume = read_volume(make_nifti(CUBE, np.diag([1, 1, 4, 1])))
    defects = Defects(np.array([[1, 2, 3]]), ((2, 7), (2, 8)))
    first, second = volume_findings(volume, defects)
    assert (first.code, second.code) == ("defects", "thick-slices")
    assert first.sentence.startswith("1 stray voxel and 2 dropped slices found: ")
    assert first.figures == {
        "voxels": [[1, 2, 3]],
        "voxel_count": 1,
        "slices": [{"axis": "K", "index": 7}, {"axis": "K", "index": 8}],
    }


def test_noise_beyond_training_is_told():
    rng = np.random.default_rng(0)
    quiet, loud = (0.5 + rng.normal(0, sigma, (30, 30, 30)) for sigma in (0.05, 0.1))
    assert noise_findings(quiet) == []
    (finding,) = noise_findings(loud)
    assert finding.code == "noise"
    assert finding.figures["noise"] == pytest.approx(0.1, rel=0.05)


def test_labels_are_told_unless_they_were_asked_for():
    assert label_findings(0) == ()
    (finding,) = label_findings(54)
    assert finding.sentence.startswith("54 values in regions")


def test_a_quaternion_that_is_no_rotation_is_not_compared(make_nifti):
    def spoil(header):
        header["quatern_b"] = header["quatern_c"] = 2

    volume = read_volume(make_nifti(CUBE, np.eye(4)))
    header = volume.header.copy()
    spoil(header)
    assert codes(replace(volume, header=header)) == []
