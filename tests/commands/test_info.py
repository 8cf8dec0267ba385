import json

import numpy as np
from typer.testing import CliRunner

from tdafd_cli.cli import app


def info(path, weights, *options):
    words = ["info", str(path), "--weights", str(weights), "--device", "cpu", *options]
    return CliRunner().invoke(app, words, catch_exceptions=False)


def test_a_scan_is_told_in_a_screen(make_nifti, tiny_weights):
    stored = np.random.default_rng(0).integers(0, 900, (15, 14, 13), dtype=np.int16)
    path = make_nifti(stored, np.diag([2.0, 2.0, 2.5, 1.0]))
    before = sorted(path.parent.iterdir())
    result = info(path, tiny_weights)
    assert (result.exit_code, result.stderr) == (0, "")
    lines = result.stdout.splitlines()
    assert lines[0] == str(path)
    assert len(lines) < 20
    told = dict(line.strip().split(maxsplit=1) for line in lines[1:])
    assert told["shape"] == "15 x 14 x 13 voxels"
    assert told["resolution"].startswith("2 x 2 x 2.5 mm along I, J and K: all that")
    assert "  orientation  RAS (qform code 1, sform code 1)" in lines
    assert (
        "  at x2        30 x 28 x 26 voxels of 1 x 1 x 1.25 mm by tiny, passes: 2, "
        in result.stdout
    )
    assert "  time         about 1 s" in lines
    assert sorted(path.parent.iterdir()) == before


def test_json_has_all_of_it(make_nifti, tiny_weights):
    stored = np.zeros((20, 18, 17), np.int16)
    stored[3:15, 4:11, 2:13], stored[6:12, 5:9, 4:8] = 41, 17
    path = make_nifti(stored, np.eye(4))
    result = info(path, tiny_weights, "--json")
    assert result.stdout.count("\n") == 1
    told = json.loads(result.stdout)
    assert (told["source"], told["method"], told["scale"]) == (str(path), "labels", 2)
    assert told["resolution_mm"] == [1, 1, 1]
    assert told["findings"][0]["code"] == "labels"


def test_headers_free_text_is_not_told(make_nifti, tiny_weights):
    def name(header):
        header["descrip"] = b"Jane Doe"

    stored = np.random.default_rng(0).integers(0, 900, (9, 8, 7), dtype=np.int16)
    path = make_nifti(stored, np.eye(4), edit=name)
    assert "Jane" not in info(path, tiny_weights).output + info(path, tiny_weights, "--json").output
