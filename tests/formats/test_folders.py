import pytest

from tdafd_cli.errors import DataError
from tdafd_cli.formats.files import read_volume
from tdafd_cli.formats.folders import example_path, volume_paths


def test_a_folder_without_volumes_is_told(tmp_path):
    with pytest.raises(DataError, match="not a folder"):
        volume_paths(tmp_path / "nowhere")
    with pytest.raises(DataError, match=r"holds no volume; their names end in \.nii"):
        volume_paths(tmp_path)


def test_volumes_are_found_at_any_depth_whatever_the_case_of_their_suffix(tmp_path):
    names = ["a.nii", "deep/er/b.NII.GZ", "deep/c.Nii", "d.nii.gz", "e.MGZ", "f.nrrd", "g.mha"]
    names += ["h.hdr"]
    for name in [*names, "notes.txt", "e.nii.bz2", "h.img"]:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    assert volume_paths(tmp_path) == [tmp_path / name for name in sorted(names)]


def test_the_example_comes_along():
    assert read_volume(example_path()).shape == (80, 104, 103)
