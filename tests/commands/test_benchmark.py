import csv
import json
import re
import shutil
import subprocess

import numpy as np
import pytest
import typer
from PIL import Image
from typer.testing import CliRunner

from tdafd_cli.commands.benchmark import benchmark

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome", "msedge")
BROWSER = next(filter(None, map(shutil.which, BROWSERS)), None)
FAST = ("--device", "cpu", "--precision", "fp32", "--threads", "1", "--patch", "16")
app = typer.Typer(pretty_exceptions_enable=False)
app.command()(benchmark)


def invoke(*arguments: object):
    return CliRunner().invoke(app, [str(word) for word in arguments], catch_exceptions=False)


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


def test_every_output_of_a_run(heads, tiny_weights, repeat, tmp_path):
    outputs = {name: tmp_path / f"out.{name}" for name in ("json", "csv", "markdown")}
    options = [word for name, path in outputs.items() for word in (f"--{name}", path)]
    page = tmp_path / "report"
    arguments = ["--data", heads, "--weights", tiny_weights, "--method", f"mine={repeat}"]
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
    assert {row["scale"] for row in rows} == {"2"}
    assert float(rows[5]["psnr"]) == pytest.approx(float(rows[0]["psnr"]), abs=1e-3)
    assert "| method | n |" in outputs["markdown"].read_text()
    assert_self_contained((page / "index.html").read_text())
    assert "Quality at x2, average" in result.stdout


def assert_self_contained(html: str) -> None:
    assert not re.findall(r"(?:src|href)=[\"'](?!data:)|https?://|url\(|@import", html)
    assert html.count('data-method="tiny"') == 2 * 3  # volumes, planes
    assert "<svg" in html


def test_passes_and_consistency_are_as_asked(heads, tiny_weights, tmp_path):
    target = tmp_path / "out.json"
    arguments = ["--data", heads, "--weights", tiny_weights, "--degradation", "kspace"]
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


def test_a_second_run_scores_the_same(heads, tiny_weights, tmp_path):
    scores = []
    for name in ("first", "second"):
        target = tmp_path / name
        options = ("--degradation", "kspace", "--json", target, "--quiet")
        invoke("--data", heads, "--weights", tiny_weights, *options, *FAST)
        found = json.loads(target.read_text())
        scores.append(
            [[row[key] for key in ("psnr", "ssim", "psnr_foreground")] for row in found["rows"]]
        )
    np.testing.assert_allclose(scores[0], scores[1], atol=1e-6)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--data", "missing"], "missing: no such file or folder"),
        (["--data", "."], "holds no volume; their names end in .nii.gz"),
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


def test_failures_are_told_and_the_rest_is_reported(heads, tiny_weights, tmp_path):
    (heads / "broken.nii").write_bytes(b"no volume")
    options = ("--degradation", "kspace", "--method", "mine=false {input} {output}")
    result = invoke("--data", heads, "--weights", tiny_weights, *options, *FAST)
    assert result.exit_code == 1
    assert "Quality at x2, kspace" in result.stdout
    lines = result.stderr.splitlines()
    assert len(lines) == 3
    assert sum("broken.nii" in line for line in lines) == 1
    assert sum("method mine: ended with exit code 1" in line for line in lines) == 2


@pytest.mark.slow
@pytest.mark.skipif(BROWSER is None, reason="needs a browser")
def test_a_browser_shows_the_report(heads, tiny_weights, tmp_path):
    page = tmp_path / "report"
    options = ("--degradation", "kspace", "--report", page, "--quiet")
    invoke("--data", heads, "--weights", tiny_weights, *options, *FAST)
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
