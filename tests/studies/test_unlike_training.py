import sys
from pathlib import Path

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from tdafd_cli.formats.files import read_volume

SCRIPT = Path(__file__).parents[2] / "studies" / "unlike_training.py"


@pytest.fixture
def script(monkeypatch):
    monkeypatch.syspath_prepend(str(SCRIPT.parent))
    monkeypatch.delitem(sys.modules, "unlike_training", raising=False)
    import unlike_training

    return unlike_training


@pytest.fixture
def head(make_nifti):
    """A ball in a ball, in the dark."""
    edge = np.linspace(-1, 1, 36)
    radius = np.linalg.norm(np.meshgrid(edge, edge, 1.2 * edge), axis=0)
    return make_nifti(np.float32(60 * (radius < 0.9) + 40 * (radius < 0.5)))


def test_contrasts_change_the_order_of_tissues_but_keep_air_dark(script, head):
    source = read_volume(head)
    as_is, like_t2 = (script.remapped(source, name).data for name in ("T1", "like T2"))
    outer, inner = (source.data == 60, source.data == 100)
    assert as_is[inner].mean() > as_is[outer].mean() > 0.3
    assert like_t2[outer].mean() > like_t2[inner].mean() > 0.2
    assert np.abs(like_t2[source.data == 0]).max() < 0.01


def test_boxes_are_from_the_middle(script, head):
    source = read_volume(head)
    assert np.array_equal(script.middle(source, 16).data, source.data[10:26, 10:26, 10:26])
    assert script.middle(source, 99).shape == source.shape


def test_every_kind_and_degradation_is_scored_for_every_file(script, head, tiny_weights):
    app = typer.Typer()
    app.command()(script.main)
    result = CliRunner().invoke(app, [str(head.parent), str(tiny_weights), str(tiny_weights)])
    assert result.exit_code == 0, result.output
    rows = [line.split(" | ") for line in result.output.splitlines()]
    assert len({tuple(row[:3]) for row in rows}) == len(rows) == 6 * 3
    first, second = zip(*(map(float, row[3].split()) for row in rows), strict=True)
    assert first == second
    assert len(set(first)) > 1
