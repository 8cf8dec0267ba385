import pytest

from tdafd_cli.errors import OutputError
from tdafd_cli.formats.sidecars import find_sidecars, write_sidecars


@pytest.mark.parametrize("source", ["a.nii.gz", "a.NII", "a.hdr", "a.mgz"])
@pytest.mark.parametrize("target", ["b.c.nii.gz", "b.c.MGZ"])
def test_names_are_those_of_the_scans_without_their_endings(tmp_path, source, target):
    (tmp_path / "a.bvec").write_text("1\n0\n0\n")
    (tmp_path / "a.txt").write_text("no sidecar")
    found = find_sidecars(tmp_path / source, tmp_path / target, range(1), 1)
    write_sidecars(found)
    assert [each.path.name for each in found] == ["b.c.bvec"]
    assert (tmp_path / "b.c.bvec").read_text() == "1\n0\n0\n"


def test_a_folder_of_images_may_have_sidecars_beside_it(tmp_path):
    (tmp_path / "dicom").mkdir()
    (tmp_path / "dicom.json").write_text("{}")
    (found,) = find_sidecars(tmp_path / "dicom", tmp_path / "high.nii", range(1), 1)
    assert found.path == tmp_path / "high.json"


def test_one_that_exists_is_refused_unless_told_otherwise(tmp_path):
    (tmp_path / "a.bval").write_text("0")
    (tmp_path / "b.bval").write_text("precious")
    names = tmp_path / "a.nii", tmp_path / "b.nii"
    with pytest.raises(OutputError, match=r"b\.bval: exists"):
        find_sidecars(*names, range(1), 1)
    assert len(find_sidecars(*names, range(1), 1, overwrite=True)) == 1
