import json
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from tdafd_cli.networks.complexity import complexity

SCRIPT = Path(__file__).parents[2] / "studies" / "equal_budget.py"


@pytest.fixture
def app(monkeypatch):
    import typer

    monkeypatch.syspath_prepend(str(SCRIPT.parent))
    monkeypatch.delitem(sys.modules, "equal_budget", raising=False)
    import equal_budget

    app = typer.Typer()
    app.command()(equal_budget.main)
    return app


@pytest.fixture
def recipe(tmp_path):
    path = tmp_path / "recipe.toml"
    path.write_text('optimiser = "adamw"\n[dataset]\npatch = 16\nbatch = 1\npool = 1\n')
    return path


@pytest.fixture
def heads(make_nifti):
    """Two volumes of a ball in a ball, one to train on and one to judge on."""
    edge = np.linspace(-1, 1, 40)
    radius = np.linalg.norm(np.meshgrid(edge, 1.2 * edge, 1.4 * edge), axis=0)
    head = np.float32(100 * (radius < 0.9) + 50 * (radius < 0.5))
    return make_nifti(head), make_nifti(head[::-1])


def compare(app, results, heads, recipe, *networks, minutes=0.02):
    training, test = heads
    arguments = [results, "--data", training.parent, "--test", test, "--recipe", recipe]
    arguments += ["--minutes", minutes, "--networks", ",".join(networks), "--threads", 1]
    return CliRunner().invoke(app, [*map(str, arguments)], catch_exceptions=False)


def told(run):
    """Error without the frame and the line breaks that a terminal's width gives it."""
    assert run.exit_code == 2
    return " ".join(run.output.replace("│", " ").split())


def test_every_network_gets_its_time_and_a_row(app, recipe, tmp_path, heads):
    run = compare(app, tmp_path, heads, recipe, "TDAFD", "SRCNN3D")
    assert run.exit_code == 0, run.output
    assert "| TDAFD | 397,480 | 19.4 |" in run.stdout
    assert "| SRCNN3D | 52,801 | 27.7 |" in run.stdout
    result = json.loads((tmp_path / "TDAFD.json").read_text())
    assert [row["degradation"] for row in result["scores"]] == ["kspace", "gaussian", "average"]
    assert all(10 < row["psnr_foreground"] < 60 for row in result["scores"])

    before = (tmp_path / "TDAFD.json").stat().st_mtime_ns
    assert compare(app, tmp_path, heads, recipe, "TDAFD").exit_code == 0
    assert (tmp_path / "TDAFD.json").stat().st_mtime_ns == before  # what is there is not redone
    other = compare(app, tmp_path, heads, recipe, "EDDSR", minutes=1)
    assert "has another minutes" in told(other)


def test_unknown_networks_and_shared_volumes_are_refused(app, recipe, tmp_path, heads):
    assert "no network 'TDAFT'" in told(compare(app, tmp_path, heads, recipe, "TDAFT"))
    both = compare(app, tmp_path, heads[:1] * 2, recipe, "TDAFD")
    assert "is in both training and test" in told(both)
    assert not list(tmp_path.glob("*.json"))


@pytest.mark.parametrize("scale", [2, 3])
def test_every_design_can_be_built_and_counted(app, scale):
    from designs import DESIGNS

    shipped = complexity(partial(DESIGNS["TDAFD"], scale), (32, 32, 32))
    for name, build in DESIGNS.items():
        cost = complexity(partial(build, scale), (32, 32, 32))
        assert (cost == shipped) == (name == "TDAFD"), name
