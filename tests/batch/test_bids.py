"""BIDS derivatives: their names, sidecars and description, by the rules of BIDS 1.10."""

import hashlib
import json
import re
from pathlib import Path

import pytest
from folder_contents import files_in

import tdafd_cli
from tdafd_cli.batch.bids import derivative_name

# Entities in the order in which the specification has them; those after run belong to derivatives.
ORDER = ("sub", "ses", "sample", "task", "tracksys", "acq", "ce", "trc", "stain", "rec", "dir")
ORDER += ("run", "mod", "echo", "flip", "inv", "mt", "part", "proc", "hemi", "space", "split")
ORDER += ("recording", "chunk", "seg", "res", "den", "label", "desc")
NAME = re.compile(r"([a-z]+-[a-zA-Z0-9]+_)+[a-zA-Z0-9]+\.(nii|nii\.gz|json)")


@pytest.fixture
def dataset(tmp_path, scan) -> Path:
    folder = tmp_path / "bids"
    for seed, name in enumerate(
        (
            "sub-01/anat/sub-01_T1w.nii.gz",
            "sub-01/anat/sub-01_acq-fine_run-2_T2w.nii",
            "sub-02/ses-a/anat/sub-02_ses-a_T1w.nii.gz",
            "sub-02/ses-a/anat/sub-02_ses-a_T1map.nii.gz",
            "sub-02/ses-a/func/sub-02_ses-a_task-rest_bold.nii.gz",
            "derivatives/other/sub-01/anat/sub-01_desc-x_T1w.nii.gz",
        )
    ):
        scan(folder / name, seed)
    about = {"Name": "test", "BIDSVersion": "1.10.0"}
    (folder / "dataset_description.json").write_text(json.dumps(about))
    (folder / "sub-01/anat/sub-01_T1w.json").write_text('{"SkullStripped": true}')
    return folder


@pytest.fixture
def out(dataset) -> Path:
    return dataset / "derivatives" / "tdafd"


def images(folder: Path) -> list[str]:
    return [name for name in files_in(folder) if ".nii" in name]


def test_anatomical_images_become_derivatives(run, dataset, out):
    assert run(dataset, out, "--bids").exit_code == 0
    assert list(files_in(out)) == [
        ".bidsignore",
        "dataset_description.json",
        "sub-01/anat/sub-01_acq-fine_run-2_desc-TDAFD_T2w.json",
        "sub-01/anat/sub-01_acq-fine_run-2_desc-TDAFD_T2w.nii",
        "sub-01/anat/sub-01_desc-TDAFD_T1w.json",
        "sub-01/anat/sub-01_desc-TDAFD_T1w.nii.gz",
        "sub-02/ses-a/anat/sub-02_ses-a_desc-TDAFD_T1w.json",
        "sub-02/ses-a/anat/sub-02_ses-a_desc-TDAFD_T1w.nii.gz",
        "summary.csv",
    ]


def test_the_derivatives_keep_the_rules(run, dataset, out):
    run(dataset, out, "--bids")
    about = json.loads((out / "dataset_description.json").read_text())
    assert about["DatasetType"] == "derivative"
    assert {"Name", "BIDSVersion"} <= about.keys()
    (made_by,) = about["GeneratedBy"]
    assert (made_by["Name"], made_by["Version"]) == ("tdafd", tdafd_cli.__version__)
    assert about["SourceDatasets"] == [{"URL": dataset.resolve().as_uri()}]
    assert (out / ".bidsignore").read_text().split() == ["summary.csv", ".tdafd/"]
    for path in out.glob("sub-*/**/sub-*.*"):
        assert NAME.fullmatch(path.name)
        entities = [word.partition("-")[0] for word in path.name.split("_")[:-1]]
        assert entities == sorted(entities, key=ORDER.index)
        sub, *ses = path.relative_to(out).parts[:-2]
        assert path.name.startswith("_".join([sub, *ses]) + "_")
        if path.suffix == ".json":
            scheme, name, inside = json.loads(path.read_text())["Sources"][0].split(":")
            assert (scheme, about["DatasetLinks"][name]) == ("bids", dataset.resolve().as_uri())
            assert (dataset / inside).is_file()


def test_a_sidecar_tells_what_a_result_was_made_from_and_how(run, dataset, out, tiny_weights):
    run(dataset, out, "--bids", "--participant-label", "01", "--suffix", "T1w")
    told = json.loads((out / "sub-01/anat/sub-01_desc-TDAFD_T1w.json").read_text())
    source = dataset / "sub-01/anat/sub-01_T1w.nii.gz"
    digest = hashlib.sha256(source.read_bytes()).hexdigest()
    assert told["Sources"] == ["bids:raw:sub-01/anat/sub-01_T1w.nii.gz"]
    assert told["SourceSHA256"] == {source.name: digest}
    assert told["WeightsSHA256"] == hashlib.sha256(tiny_weights.read_bytes()).hexdigest()
    assert (told["Weights"], told["Version"]) == ("tiny", tdafd_cli.__version__)
    assert told["SkullStripped"] is True
    assert told["Command"].startswith("tdafd")


@pytest.mark.parametrize("label", ["02", "sub-02"])
def test_participants_and_suffixes_choose(run, dataset, out, label):
    assert run(dataset, out, "--bids", "--participant-label", label).exit_code == 0
    assert images(out) == ["sub-02/ses-a/anat/sub-02_ses-a_desc-TDAFD_T1w.nii.gz"]
    assert run(dataset, out, "--bids", "--suffix", "T2w").exit_code == 0
    assert "sub-01/anat/sub-01_acq-fine_run-2_desc-TDAFD_T2w.nii" in images(out)
    assert len(images(out)) == 2


def test_a_result_without_its_sidecar_is_not_finished(run, dataset, out):
    run(dataset, out, "--bids", "--suffix", "T2w")
    sidecar = out / "sub-01/anat/sub-01_acq-fine_run-2_desc-TDAFD_T2w.json"
    sidecar.unlink()
    assert run(dataset, out, "--bids", "--suffix", "T2w").exit_code == 1
    assert run(dataset, out, "--bids", "--suffix", "T2w", "--overwrite").exit_code == 0
    assert sidecar.is_file()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--participant-label", "99"], "holds no participant 99"),
        (["--suffix", "bold"], "holds no anatomical image that ends in bold"),
    ],
)
def test_what_is_not_there_is_an_error(run, dataset, out, options, message):
    result = run(dataset, out, "--bids", *options)
    assert result.exit_code == 1
    assert message in result.stderr
    assert not out.exists()


def test_other_data_sets_are_left_alone(run, dataset, tmp_path):
    for folder, message in ((dataset, "is the input"), (tmp_path / "o", "another BIDS data set")):
        if folder != dataset:
            folder.mkdir()
            (folder / "dataset_description.json").write_text('{"DatasetType": "raw"}')
        before = files_in(folder)
        result = run(dataset, folder, "--bids")
        assert result.exit_code == 1
        assert message in result.stderr
        assert files_in(folder) == before


def test_a_folder_that_is_no_data_set_is_an_error(run, raw, upscaled):
    result = run(raw, upscaled, "--bids")
    assert result.exit_code == 1
    assert "no BIDS data set" in result.stderr


@pytest.mark.parametrize("name", ["sub-01.nii", "sub-01_T1w.json", "T1w.nii", "sub-01_T1map.nii"])
def test_other_names_have_no_derivative(name):
    assert derivative_name(name, {"T1w"}) is None
