import csv
import json
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
import typer
from PIL import Image
from typer.testing import CliRunner

from tdafd_cli.benchmark.comparison import Row, bootstrap_interval, paired_p_value, summaries
from tdafd_cli.benchmark.methods import external, interpolations, itk_bspline
from tdafd_cli.benchmark.results import Results
from tdafd_cli.benchmark.run import (
    BenchmarkSettings,
    example_path,
    find_volumes,
    run_benchmark,
    score_methods,
)
from tdafd_cli.commands.benchmark import benchmark
from tdafd_cli.errors import MethodError, TdafdError, VolumeError
from tdafd_cli.evaluation.case import degraded, reference
from tdafd_cli.inference.settings import InferenceSettings
from tdafd_cli.sampling.interpolation import interpolate
from tdafd_cli.volumes.formats import read_volume
from tdafd_cli.volumes.grid import upscaled_affine

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome", "msedge")
BROWSER = next(filter(None, map(shutil.which, BROWSERS)), None)
FAST = ("--device", "cpu", "--precision", "fp32", "--threads", "1", "--patch", "16")

app = typer.Typer(pretty_exceptions_enable=False)
app.command()(benchmark)

REPEAT = """
import sys
import nibabel, numpy
image = nibabel.load(sys.argv[1])
data = image.get_fdata()
for axis in range(3):
    data = data.repeat(int(sys.argv[3]), axis)
nibabel.save(nibabel.Nifti1Image(data.astype("float32"), image.affine), sys.argv[2])
"""


def head(seed=0, shape=(26, 24, 21)):
    axes = np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij")
    radius = np.sqrt(sum(x**2 for x in axes))
    texture = np.random.default_rng(seed).normal(0, 4, shape)
    return ((np.cos(9 * radius) + 1.5) * 100 + texture) * (radius < 0.8)


@pytest.fixture
def folder(tmp_path) -> Path:
    place = tmp_path / "volumes"
    place.mkdir()
    for seed in range(2):
        image = nib.Nifti1Image(head(seed).astype(np.float32), np.diag([1, 1.2, 1.5, 1]))
        nib.save(image, place / f"head{seed}.nii.gz")
    return place


@pytest.fixture
def repeat(tmp_path) -> str:
    script = tmp_path / "repeat.py"
    script.write_text(REPEAT)
    return f"'{sys.executable}' '{script}' {{input}} {{output}} {{scale}}"


def invoke(*arguments: object):
    return CliRunner().invoke(app, [str(word) for word in arguments], catch_exceptions=False)


def new_results() -> Results:
    return Results({"device": "cpu", "seed": 0})


def case_of(folder: Path, scale: int = 2):
    return degraded(reference("head", read_volume(folder / "head0.nii.gz"), scale), "average")


@pytest.mark.parametrize("scale", [2, 3])
def test_bspline_of_simpleitk_agrees_with_ours(scale):
    low = torch.rand(9, 8, 7, generator=torch.Generator().manual_seed(0))
    ours = interpolate(low, scale, "bspline").numpy()
    np.testing.assert_allclose(itk_bspline(low, scale), ours, atol=1e-5)


def test_an_external_program_sees_the_low_volume_where_it_lies(folder, repeat):
    case = case_of(folder)
    estimate = external("mine", repeat).estimate(case)
    nearest = interpolate(case.low_intensities(), 2, "nearest").numpy()
    np.testing.assert_allclose(estimate, nearest, rtol=1e-5)
    low, high = case.low_volume(), case.reference.volume
    np.testing.assert_allclose(upscaled_affine(low.affine, 2), high.affine, atol=1e-6)


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("false {input} {output}", "ended with exit code 1: it said nothing"),
        ("/no/such/program {input} {output}", "cannot run /no/such/program"),
        ("true {input} {output}", "wrote no {output}"),
        ("cp {input} {output}", "its output has shape (13, 12, 10), not (26, 24, 20)"),
        ("sh -c 'echo broken > {output}' {input}", "unusable output"),
        ("sh -c 'echo first; echo why >&2; exit 3' {input} {output}", "exit code 3: why"),
    ],
)
def test_a_failing_program_is_told_in_one_line(folder, command, message):
    with pytest.raises(MethodError) as caught:
        external("mine", command).estimate(case_of(folder))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_program_that_hangs_is_ended(folder):
    with pytest.raises(MethodError, match="still running after"):
        external("mine", "sh -c 'sleep 9' {input} {output}", seconds=0.2).estimate(case_of(folder))


@pytest.mark.parametrize("command", ["run {input}", "run {output}", "run '{input} {output}"])
def test_an_impossible_command_is_refused_at_once(command):
    with pytest.raises(MethodError, match="method mine"):
        external("mine", command)


def test_no_shell_reads_a_command(folder, tmp_path):
    mark = tmp_path / "mark"
    with pytest.raises(MethodError):
        external("mine", f"true {{input}} {{output}}; touch {mark}").estimate(case_of(folder))
    assert not mark.exists()


def test_volumes_too_small_are_refused():
    data = np.random.default_rng(0).random((6, 9, 9), np.float32)
    volume = replace(read_volume(example_path()), data=data, path=None)
    with pytest.raises(VolumeError, match="6 x 9 x 9 voxels are too few at x2"):
        reference("small", volume, 2)


def test_the_example_comes_along():
    assert read_volume(example_path()).shape == (80, 104, 103)


def test_names_tell_volumes_apart(folder):
    nested = folder / "more"
    nested.mkdir()
    shutil.copy(folder / "head0.nii.gz", nested / "head0.nii.gz")
    names = list(find_volumes([folder, nested / "head0.nii.gz"]))
    assert names[:3] == ["head0.nii.gz", "head1.nii.gz", "more/head0.nii.gz"]
    assert len(set(names)) == 4


def test_bootstrap_covers_the_mean_and_repeats():
    values = [30.1, 31.4, 29.8, 33.0, 30.7]
    low, high = bootstrap_interval(values, seed=1)
    assert min(values) < low < np.mean(values) < high < max(values)
    assert bootstrap_interval(values, seed=1) == (low, high)


def test_paired_test_by_hand():
    # 5 of 6 positive, the negative the smallest: 2 of 64 sign patterns are as one-sided, twice.
    assert paired_p_value([2, 3, 4, 5, 6, -1], [0] * 6) == pytest.approx(4 / 64)
    assert paired_p_value([1, 2], [1, 2]) == 1.0


def test_the_best_baseline_is_chosen_among_baselines():
    rows = [
        Row(volume, "kspace", method, 30, 0.9, value + number, 0.9, 1.0, number)
        for number, volume in enumerate("abc")
        for method, value in (("nearest", 40), ("sinc", 31), ("bspline", 30), ("network", 33.5))
    ]
    found = {summary.method: summary for summary in summaries(rows, ("bspline", "sinc"), seed=0)}
    assert {summary.baseline for summary in found.values()} == {"sinc"}
    assert found["network"].gain == pytest.approx(2.5)
    assert found["network"].p_value == pytest.approx(0.25)
    assert found["sinc"].p_value is None
    assert found["network"].peak_memory_bytes == 2


def test_gains_are_over_the_volumes_that_both_upscaled():
    rows = [
        Row("a", "kspace", "sinc", 30, 0.9, 30, 0.9, 1.0, 1),
        Row("b", "kspace", "sinc", 30, 0.9, 20, 0.9, 1.0, 1),
        Row("b", "kspace", "mine", 30, 0.9, 21, 0.9, 1.0, 1),
        Row("c", "kspace", "mine", 30, 0.9, 50, 0.9, 1.0, 1),
    ]
    assert summaries(rows, ("sinc",), seed=0)[1].gain == pytest.approx(1.0)


def test_one_bad_volume_does_not_stop_the_rest(folder):
    (folder / "broken.nii.gz").write_bytes(b"no volume")
    results = new_results()
    score_methods(
        results, find_volumes([folder]), interpolations(), scale=2, degradations=["kspace"]
    )
    assert [failure.volume for failure in results.failures] == ["broken.nii.gz"]
    assert len(results.rows) == 2 * 4


def test_two_methods_of_one_name_are_refused(folder):
    with pytest.raises(TdafdError, match="two methods are named bspline"):
        score_methods(
            new_results(), {}, [*interpolations(), *interpolations()], scale=2, degradations=[]
        )


@pytest.mark.parametrize("slices", [False, True])
def test_a_benchmark_is_one_call(folder, tiny_weights, slices):
    told = []
    results, panels = run_benchmark(
        BenchmarkSettings(
            places=(folder / "head0.nii.gz",),
            degradations=("average",),
            weights=(str(tiny_weights),),
            inference=InferenceSettings("cpu", "fp32", 64, threads=1),
            patch=16,
            slices=slices,
        ),
        command="as typed",
        progress=told.append,
    )
    methods = ["nearest", "trilinear", "bspline", "sinc", "tiny"]
    assert [row.method for row in results.rows] == methods
    assert {cost.scale for cost in results.costs} == {2}
    made = results.provenance
    assert (made["command"], made["device"], made["precision"]) == ("as typed", "cpu", "fp32")
    assert [panel.method for panel in panels[::3]] == ["reference", "low", *methods] * slices
    assert (told[0], told[-1]) == ("x2: TDAFD", "")


def test_costs_come_without_volumes(tmp_path):
    target = tmp_path / "costs.json"
    result = invoke("--scale", 4, "--json", target, *FAST)
    assert result.exit_code == 0
    assert "SuperFormer" in result.stdout
    found = json.loads(target.read_text())
    assert found["costs"][0]["network"] == "TDAFD"
    assert found["costs"][0]["seconds"] > 0
    assert found["costs"][1]["seconds"] is None
    assert found["rows"] == []


def test_every_output_of_a_run(folder, tiny_weights, repeat, tmp_path):
    outputs = {name: tmp_path / f"out.{name}" for name in ("json", "csv", "markdown")}
    options = [word for name, path in outputs.items() for word in (f"--{name}", path)]
    page = tmp_path / "report"
    arguments = ["--data", folder, "--weights", tiny_weights, "--method", f"mine={repeat}"]
    result = invoke(*arguments, "--degradation", "average", *options, "--report", page, *FAST)
    assert result.exit_code == 0, result.stderr
    found = json.loads(outputs["json"].read_text())
    methods = ["nearest", "trilinear", "bspline", "sinc", "tiny", "mine"]
    assert [summary["method"] for summary in found["summaries"]] == methods
    assert all(len(volume["sha256"]) == 64 for volume in found["data"])
    assert len(found["methods"][4]["sha256"]) == 64
    made = found["provenance"]
    assert {"command", "seed", "device", "threads", "versions", "cpu"} <= made.keys()
    rows = list(csv.DictReader(outputs["csv"].read_text().splitlines()))
    assert [row["method"] for row in rows] == methods * 2
    assert float(rows[5]["psnr"]) == pytest.approx(float(rows[0]["psnr"]), abs=1e-3)
    assert "| method | n |" in outputs["markdown"].read_text()
    assert_self_contained((page / "index.html").read_text())
    assert "Quality at x2, average" in result.stdout


def assert_self_contained(html: str) -> None:
    assert not re.findall(r"(?:src|href)=[\"'](?!data:)|https?://|url\(|@import", html)
    assert html.count('data-method="tiny"') == 2 * 3  # volumes, planes
    assert "<svg" in html


def test_passes_and_consistency_are_as_asked(folder, tiny_weights, tmp_path):
    target = tmp_path / "out.json"
    arguments = ["--data", folder, "--weights", tiny_weights, "--degradation", "kspace"]
    psnr, networks = [], []
    for asked in (("4", "none"), ("1", "none"), ("1", "kspace")):
        options = ("--ensemble", asked[0], "--consistency", asked[1], "--json", target)
        result = invoke(*arguments, *options, "--overwrite", "--quiet", *FAST)
        assert result.exit_code == 0, result.stderr
        found = json.loads(target.read_text())
        (network,) = (method for method in found["methods"] if method["kind"] == "network")
        assert (str(network["passes"]), network["consistency"]) == asked
        networks.append(network)
        psnr.append(next(row["psnr"] for row in found["rows"] if row["method"] == "tiny"))
    assert networks[0]["flops"] == 4 * networks[1]["flops"]
    assert len(set(psnr)) == 3


def test_a_second_run_scores_the_same(folder, tiny_weights, tmp_path):
    scores = []
    for name in ("first", "second"):
        target = tmp_path / name
        options = ("--degradation", "kspace", "--json", target, "--quiet")
        invoke("--data", folder, "--weights", tiny_weights, *options, *FAST)
        found = json.loads(target.read_text())
        scores.append(
            [[row[key] for key in ("psnr", "ssim", "psnr_foreground")] for row in found["rows"]]
        )
    np.testing.assert_allclose(scores[0], scores[1], atol=1e-6)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--data", "missing"], "missing: no such file or folder"),
        (["--data", "."], "holds no .nii or .nii.gz volume"),
        (["--weights", "nonsense", "--example"], "nonsense"),
        (["--json", "missing/out.json"], "does not exist"),
    ],
)
def test_bad_input_gets_one_line(arguments, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = invoke(*arguments, *FAST)
    assert result.exit_code == 1
    assert result.stderr.startswith("error: ")
    assert message in result.stderr
    assert result.stderr.count("\n") == 1


def test_a_method_without_a_command_is_a_usage_error():
    assert invoke("--method", "mine").exit_code == 2


def test_failures_are_told_and_the_rest_is_reported(folder, tiny_weights, tmp_path):
    (folder / "broken.nii").write_bytes(b"no volume")
    options = ("--degradation", "kspace", "--method", "mine=false {input} {output}")
    result = invoke("--data", folder, "--weights", tiny_weights, *options, *FAST)
    assert result.exit_code == 1
    assert "Quality at x2, kspace" in result.stdout
    lines = result.stderr.splitlines()
    assert len(lines) == 3
    assert sum("broken.nii" in line for line in lines) == 1
    assert sum("method mine: ended with exit code 1" in line for line in lines) == 2


@pytest.mark.slow
@pytest.mark.skipif(BROWSER is None, reason="needs a browser")
def test_a_browser_shows_the_report(folder, tiny_weights, tmp_path):
    page = tmp_path / "report"
    options = ("--degradation", "kspace", "--report", page, "--quiet")
    invoke("--data", folder, "--weights", tiny_weights, *options, *FAST)
    shot, shared = tmp_path / "shot.png", ("--headless", "--no-sandbox", "--disable-gpu")
    target = (page / "index.html").as_uri()
    profile = f"--user-data-dir={tmp_path / 'profile'}"
    taken = [f"--screenshot={shot}", "--window-size=1000,2600", "--virtual-time-budget=2000"]
    subprocess.run([BROWSER, *shared, profile, *taken, target], check=True, capture_output=True)
    pixels = np.asarray(Image.open(shot).convert("RGB"), np.int16)
    assert (pixels.max(axis=2) < 8).mean() > 0.02  # black stage of the slices
    saturated = (pixels.max(axis=2) - pixels.min(axis=2)) > 90
    assert saturated.mean() > 2e-4  # dots and lines of the plots
    dumped = subprocess.run(
        [BROWSER, *shared, profile, "--dump-dom", target], check=True, capture_output=True
    ).stdout.decode()
    assert '<html lang="en" class="js">' in dumped  # the script ran to its end:
    assert re.search(r'id="leftname">tiny<', dumped)
    assert re.search(r'id="rightname">reference<', dumped)
