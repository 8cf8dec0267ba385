import pytest

from tdafd_cli.formats.sidecars import SliceGeometry, sidecar_path, slice_geometry


@pytest.mark.parametrize("name", ["a_T2w.nii", "a_T2w.nii.gz", "a_T2w.NII.GZ"])
def test_slices_are_read_beside_the_scan(tmp_path, name):
    path = tmp_path / name
    assert sidecar_path(path) == tmp_path / "a_T2w.json"
    assert slice_geometry(path) == SliceGeometry()
    (tmp_path / "a_T2w.json").write_text('{"SliceThickness": 4, "SpacingBetweenSlices": 5.0}')
    assert slice_geometry(path) == SliceGeometry(4.0, 5.0)


@pytest.mark.parametrize(
    "text", ["", "[1]", "{", '{"SliceThickness": "4"}', '{"SliceThickness": -1}', "[" * 100_000]
)
def test_what_says_nothing_usable_is_passed_over(tmp_path, text):
    (tmp_path / "a.json").write_text(text)
    assert slice_geometry(tmp_path / "a.nii") == SliceGeometry()


def test_a_volume_in_memory_has_no_sidecar():
    assert slice_geometry(None) == SliceGeometry()
