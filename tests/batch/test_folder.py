"""Folders from the command line: once each, whatever happens."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from folder_contents import files_in

from tdafd_cli.batch import folder as pipeline
from tdafd_cli.formats.files import read_volume


def rows(folder: Path) -> dict[str, dict[str, str]]:
    with (folder / "summary.csv").open(encoding="utf-8", newline="") as file:
        return {Path(row["source"]).name: row for row in csv.DictReader(file)}


def test_a_folder_is_upscaled_and_told_of(run, raw, upscaled):
    result = run(raw, upscaled)
    assert result.exit_code == 0
    assert list(files_in(upscaled)) == ["a.nii.gz", "b.nii", "summary.csv"]
    assert read_volume(upscaled / "b.nii").shape == (18, 16, 14)
    assert [line.split(":")[0] for line in result.stdout.splitlines()] == [
        str(upscaled / "a.nii.gz"),
        str(upscaled / "b.nii"),
    ]
    row = rows(upscaled)["a.nii.gz"]
    assert (row["status"], row["target"]) == ("done", str(upscaled / "a.nii.gz"))
    assert (row["input_shape"], row["output_shape"]) == ("9 x 8 x 7", "18 x 16 x 14")
    assert (row["input_voxel_size"], row["output_voxel_size"]) == ("2 x 2 x 2", "1 x 1 x 1")
    assert row["warnings"] == "noise small-field"
    assert float(row["seconds"]) > 0
    assert row["error"] == ""


def test_a_volume_in_a_folder_becomes_what_it_becomes_alone(run, raw, upscaled, tmp_path):
    assert run(raw, upscaled).exit_code == 0
    assert run(raw / "a.nii.gz", tmp_path / "alone.nii.gz").exit_code == 0
    assert (tmp_path / "alone.nii.gz").read_bytes() == (upscaled / "a.nii.gz").read_bytes()


def test_recursive_mirrors_the_tree(run, raw, upscaled):
    assert run(raw, upscaled, "--recursive").exit_code == 0
    assert list(files_in(upscaled)) == ["a.nii.gz", "b.nii", "deep/c.nii.gz", "summary.csv"]


def test_several_sources_go_into_a_folder_as_with_cp(run, raw, upscaled):
    result = run(raw / "a.nii.gz", raw / "b.nii", upscaled)
    assert result.exit_code == 0
    assert list(files_in(upscaled)) == ["a.nii.gz", "b.nii", "summary.csv"]


def test_one_source_goes_into_a_folder_that_exists(run, raw, upscaled):
    upscaled.mkdir()
    assert run(raw / "a.nii.gz", upscaled).exit_code == 0
    assert list(files_in(upscaled)) == ["a.nii.gz", "summary.csv"]


@pytest.mark.parametrize("divider", ["\n", "\0"])
def test_names_are_read_from_standard_input(run, raw, upscaled, divider):
    names = divider.join([str(raw / "b.nii"), str(raw / "deep" / "c.nii.gz"), ""])
    assert run("-", upscaled, names=names).exit_code == 0
    assert list(files_in(upscaled)) == ["b.nii", "c.nii.gz", "summary.csv"]


def test_a_name_that_is_not_there_is_a_bad_volume(run, raw, upscaled):
    result = run("-", upscaled, names=f"{raw / 'none.nii'}\n{raw / 'b.nii'}\n")
    assert result.exit_code == 1
    assert f"error: {raw / 'none.nii'}: no such file" in result.stderr
    assert (upscaled / "b.nii").is_file()


def test_finished_results_are_passed_over(run, raw, upscaled):
    run(raw, upscaled)
    before = {path: path.stat().st_mtime_ns for path in upscaled.glob("*.nii*")}
    table = rows(upscaled)
    result = run(raw, upscaled, "--json")
    assert result.exit_code == 0
    assert [json.loads(line)["status"] for line in result.stdout.splitlines()] == ["finished"] * 2
    assert {path: path.stat().st_mtime_ns for path in upscaled.glob("*.nii*")} == before
    assert rows(upscaled) == table


def test_overwrite_makes_finished_results_again(run, raw, upscaled):
    run(raw, upscaled)
    before = files_in(upscaled)["a.nii.gz"]
    result = run(raw, upscaled, "--overwrite", "--json")
    assert result.exit_code == 0
    assert [json.loads(line)["status"] for line in result.stdout.splitlines()] == ["done"] * 2
    assert files_in(upscaled)["a.nii.gz"] == before


@pytest.mark.parametrize("change", ["options", "source", "result"])
def test_what_is_not_finished_and_exists_is_refused_until_asked(run, raw, upscaled, scan, change):
    run(raw, upscaled)
    options = ["--labels", "yes"] if change == "options" else []
    if change == "source":
        scan(raw / "a.nii.gz", 99)
    if change == "result":
        (upscaled / "a.nii.gz").write_bytes((upscaled / "a.nii.gz").read_bytes() + b"!")
    before = files_in(upscaled)["a.nii.gz"]
    for _ in range(2):  # having failed once is no leave
        result = run(raw, upscaled, *options)
        assert result.exit_code == 1
        assert f"{upscaled / 'a.nii.gz'}: exists; " in result.stderr
        assert files_in(upscaled)["a.nii.gz"] == before
    assert run(raw, upscaled, *options, "--overwrite").exit_code == 0
    assert files_in(upscaled)["a.nii.gz"] != before


def test_a_result_that_was_copied_elsewhere_and_back_is_finished(run, raw, upscaled):
    run(raw, upscaled)
    content = (upscaled / "a.nii.gz").read_bytes()
    (upscaled / "a.nii.gz").unlink()
    (upscaled / "a.nii.gz").write_bytes(content)
    result = run(raw, upscaled, "--json")
    assert [json.loads(line)["status"] for line in result.stdout.splitlines()] == ["finished"] * 2


def test_bad_volumes_are_told_and_the_rest_go_on(run, raw, upscaled, scan):
    whole = (raw / "a.nii.gz").read_bytes()
    (raw / "truncated.nii.gz").write_bytes(whole[: len(whole) // 2])
    (raw / "text.nii").write_text("no scan")
    (raw / "empty.nii").write_bytes(b"")
    scan(raw / "flat.nii", shape=(9, 8))
    result = run(raw, upscaled, "--json")
    assert result.exit_code == 1
    told = [json.loads(line) for line in result.stdout.splitlines()]
    failed = {Path(each["source"]).name for each in told if each["status"] == "failed"}
    assert failed == {"truncated.nii.gz", "text.nii", "empty.nii", "flat.nii"}
    errors = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 4
    assert list(files_in(upscaled)) == ["a.nii.gz", "b.nii", "summary.csv"]
    table = rows(upscaled)
    assert table["text.nii"]["status"] == "failed"
    assert str(raw / "text.nii") in table["text.nii"]["error"]
    assert table["b.nii"]["status"] == "done"


def test_a_bad_volume_that_was_repaired_is_upscaled_by_a_rerun(run, raw, upscaled, scan):
    (raw / "b.nii").write_text("no scan")
    assert run(raw, upscaled).exit_code == 1
    scan(raw / "b.nii")
    assert run(raw, upscaled).exit_code == 0
    assert {row["status"] for row in rows(upscaled).values()} == {"done"}


@pytest.mark.parametrize("step", ["upscale_opened", "open_source", "fingerprints"])
@pytest.mark.parametrize("number", [0, 1])
def test_an_interruption_leaves_whole_results_and_a_rerun_goes_on(
    run, raw, upscaled, tmp_path, monkeypatch, step, number
):
    run(raw, tmp_path / "unbroken", "--recursive")
    genuine, calls = getattr(pipeline, step), []

    def interrupted(*arguments, **options):
        calls.append(arguments)
        if len(calls) > number:
            raise KeyboardInterrupt
        return genuine(*arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(pipeline, step, interrupted)
        result = run(raw, upscaled, "--recursive")
    assert result.exit_code == 130
    assert result.stderr.endswith("error: interrupted\n")
    whole = files_in(tmp_path / "unbroken")
    for name, content in files_in(upscaled).items():
        assert name == "summary.csv" or content == whole[name]
    assert not list(upscaled.rglob("*.claim"))
    assert run(raw, upscaled, "--recursive").exit_code == 0
    again = files_in(upscaled)
    assert again.keys() == whole.keys()
    assert all(again[name] == whole[name] for name in whole if name != "summary.csv")


def test_a_series_in_a_folder_is_upscaled_whole(run, raw, upscaled, scan):
    scan(raw / "s.nii.gz", shape=(9, 8, 7, 3))
    assert run(raw, upscaled, "--pattern", "s*").exit_code == 0
    assert rows(upscaled)["s.nii.gz"]["output_shape"] == "18 x 16 x 14 x 3"
    assert run(raw, upscaled, "--pattern", "s*", "--json").stdout.startswith(
        '{"status": "finished"'
    )


def test_shards_do_all_and_the_summary_tells_of_all(run, raw, upscaled):
    assert run(raw, upscaled, "-r", "--shard", "1/2").exit_code == 0
    assert list(files_in(upscaled)) == ["a.nii.gz", "deep/c.nii.gz", "summary.csv"]
    first = {name: row["status"] for name, row in rows(upscaled).items()}
    assert sorted(first.values()) == ["done", "done", "pending"]
    assert run(raw, upscaled, "-r", "--shard", "2/2").exit_code == 0
    assert {row["status"] for row in rows(upscaled).values()} == {"done"}
    assert len(rows(upscaled)) == 3


def test_values_are_those_of_the_network(run, raw, upscaled):
    run(raw, upscaled)
    low, high = read_volume(raw / "b.nii").data, read_volume(upscaled / "b.nii").data
    means = high.reshape(9, 2, 8, 2, 7, 2).mean(axis=(1, 3, 5))
    assert np.corrcoef(low.ravel(), means.ravel())[0, 1] > 0.9


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["a.nii.gz", "b.nii", "c.nii.gz"], "is a file; for several volumes, end with a folder"),
        (["a.nii.gz", "b.nii", "out", "--preview", "p.png"], "is of one volume alone"),
        (["a.nii.gz", "out", "--shard", "3/2"], "--shard"),
        (["a.nii.gz", "out", "--workers", "0"], "--workers"),
        (["a.nii.gz", "out", "--device", "cpu,tpu"], "'tpu' is none of"),
        (["a.nii.gz", "out", "-r", "--suffix", "T1w"], "belongs to --bids"),
    ],
)
def test_what_cannot_be_is_a_usage_error(run, raw, tmp_path, words, message):
    paths = [raw / word if ".nii" in word else word for word in words]
    result = run(*[tmp_path / word if word == "out" else word for word in paths])
    assert result.exit_code == 2
    assert message in " ".join(result.stderr.split())
    assert not (tmp_path / "out").exists()
