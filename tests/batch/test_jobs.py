from pathlib import Path

import pytest

from tdafd_cli.batch.jobs import find_jobs, is_series
from tdafd_cli.errors import DataError, OutputError

DICOM = bytes(128) + b"DICM"


@pytest.fixture
def tree(tmp_path) -> Path:
    for name in (
        "a_T1w.nii.gz",
        "B_T2w.NII",
        "p.hdr",
        "p.img",
        "notes.txt",
        ".hidden.nii",
        "x/c.mha",
    ):
        path = tmp_path / "raw" / name
        path.parent.mkdir(exist_ok=True, parents=True)
        path.write_bytes(b"")
    for name in ("raw/series/1", "raw/series/2"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(DICOM)
    return tmp_path / "raw"


def targets(jobs, folder: Path) -> list[str]:
    return [job.target.relative_to(folder).as_posix() for job in jobs]


def test_volumes_and_dicom_folders_of_a_folder_are_found(tree, tmp_path):
    jobs = find_jobs([tree], tmp_path / "out")
    found = ["B_T2w.NII", "a_T1w.nii.gz", "p.hdr", "series.nii.gz"]
    assert targets(jobs, tmp_path / "out") == found
    assert jobs[-1].source == tree / "series"


def test_the_tree_is_mirrored(tree, tmp_path):
    found = targets(find_jobs([tree], tmp_path / "out", recursive=True), tmp_path / "out")
    assert found == ["B_T2w.NII", "a_T1w.nii.gz", "p.hdr", "series.nii.gz", "x/c.mha"]


def test_a_folder_of_dicom_files_is_one_volume_also_if_it_is_the_source(tree, tmp_path):
    assert is_series(tree / "series")
    assert not is_series(tree)
    jobs = find_jobs([tree / "series"], tmp_path / "out")
    assert targets(jobs, tmp_path / "out") == ["series.nii.gz"]


def test_a_pattern_chooses(tree, tmp_path):
    jobs = find_jobs([tree], tmp_path / "out", pattern="*_T1w.nii.gz")
    assert targets(jobs, tmp_path / "out") == ["a_T1w.nii.gz"]


def test_both_files_of_a_pair_are_one_source(tree, tmp_path):
    jobs = find_jobs([tree / "p.hdr", tree / "p.img"], tmp_path / "out")
    assert [job.source for job in jobs] == [tree / "p.hdr"]


def test_results_within_the_folder_are_no_sources(tree, tmp_path):
    (tree / "out").mkdir()
    (tree / "out" / "a_T1w.nii.gz").write_bytes(b"")
    found = targets(find_jobs([tree], tree / "out", recursive=True), tree / "out")
    assert "out/a_T1w.nii.gz" not in found


@pytest.mark.parametrize("names", [("x/c.mha", "y/c.mha"), ("p.hdr", "x/p.img")])
def test_two_sources_of_one_target_are_refused(tmp_path, names):
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    sources = [tmp_path / name for name in names]
    with pytest.raises(OutputError, match="would both become"):
        find_jobs(sources, tmp_path / "out")


def test_the_folder_of_the_input_is_refused(tree):
    with pytest.raises(OutputError, match="is the folder of the input"):
        find_jobs([tree], tree)


@pytest.mark.parametrize(
    ("options", "advice"), [({}, "--recursive looks"), ({"pattern": "z"}, "z")]
)
def test_a_folder_without_volumes_is_an_error(tmp_path, options, advice):
    (tmp_path / "none" / "deeper").mkdir(parents=True)
    with pytest.raises(DataError, match=advice):
        find_jobs([tmp_path / "none"], tmp_path / "out", **options)
