"""The benchmark on one axis alone."""

import json
from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from tdafd_cli.benchmark.methods import itk_bspline
from tdafd_cli.cli import app
from tdafd_cli.networks.tdafd import TDAFD, TDAFDConfig
from tdafd_cli.sampling.interpolation import interpolate
from tdafd_cli.weights.file import save_weights

TINY = TDAFDConfig(
    scale=3, channels=4, modules=2, attention_channels=2, token_channels=4, heads=1, axes=1
)


@pytest.fixture(scope="module")
def thick_weights(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "thick.safetensors"
    save_weights(path, TDAFD(replace(TINY)), {})
    return path


@pytest.fixture
def head(tmp_path):
    noise = torch.rand((1, 18, 16, 24), generator=torch.Generator().manual_seed(0))
    data = 900 * torch.nn.functional.avg_pool3d(noise, 3, stride=1, padding=1)[0].numpy()
    path = tmp_path / "head.nii"
    nib.save(nib.Nifti1Image(data, np.diag([1.0, 1.0, 1.0, 1.0])), path)
    return path


def run(*words):
    return CliRunner().invoke(app, ["benchmark", *map(str, words)], catch_exceptions=False)


def test_itk_s_bspline_is_ours_along_one_axis():
    low = torch.rand((9, 8, 7), generator=torch.Generator().manual_seed(0))
    for factors in ((1, 1, 4), (3, 1, 1), (1, 2, 1)):
        ours = interpolate(low, factors, "bspline")
        np.testing.assert_allclose(itk_bspline(low, factors), ours, atol=1e-4)


@pytest.mark.parametrize("scale", ["1x1x3", "3x1x1"])
def test_every_method_is_scored_along_the_axis(head, thick_weights, tmp_path, scale):
    options = ["--weights", thick_weights, "--threads", 1, "--precision", "fp32", "--ensemble", 1]
    target, page = tmp_path / "results.json", tmp_path / "page"
    outputs = ["--json", target, "--report", page]
    result = run("--data", head, "--degradation", "thick", "--scale", scale, *options, *outputs)
    assert result.exit_code == 0, result.stderr
    found = json.loads(target.read_text())
    assert found["scale"] == scale
    assert found["costs"] == []
    kinds = {row["degradation"] for row in found["rows"]}
    assert kinds == {"thick-boxcar", "thick-gaussian"}
    scores = {
        row["method"]: row["psnr"] for row in found["rows"] if row["degradation"] == "thick-boxcar"
    }
    assert {"trilinear", "bspline", "sinc", "thick"} <= set(scores)
    assert scores["thick"] > scores["nearest"]  # it is a windowed sinc, untrained


@pytest.mark.parametrize(
    "options",
    [["--degradation", "thick"], ["--degradation", "thick", "--scale", "2"], ["--scale", "6"]],
)
def test_what_is_of_one_axis_needs_one(head, options):
    result = run("--data", head, *options)
    assert result.exit_code == 2
    assert options[0] in result.stderr
