import sys
from pathlib import Path

import pytest

from tdafd_cli.formats.files import open_scan

SCRIPT = Path(__file__).parents[2] / "studies" / "fuzz.py"


@pytest.fixture
def fuzz(monkeypatch):
    pytest.importorskip("resource", reason="limits memory as POSIX does")
    monkeypatch.syspath_prepend(str(SCRIPT.parent))
    monkeypatch.delitem(sys.modules, "fuzz", raising=False)
    import fuzz

    return fuzz


@pytest.fixture
def kinds(fuzz, tmp_path):
    (tmp_path / "samples").mkdir()
    return fuzz.write_samples(tmp_path / "samples")


def test_undamaged_samples_are_scans_of_one_shape(fuzz, kinds):
    assert len(kinds) == 16
    for first, *_ in kinds.values():
        assert open_scan(first).shape == fuzz.SHAPE
        assert fuzz.outcome(first) == "volume"


def test_damaged_files_become_volumes_or_errors_in_one_line(fuzz, kinds, tmp_path):
    told = []
    for number in range(96):
        folder = tmp_path / str(number)
        folder.mkdir()
        told.append(fuzz.outcome(fuzz.make_case(kinds, number, folder)[1]))
    assert set(told) == {"volume", "refused"}


def test_a_case_is_the_same_again(fuzz, kinds, tmp_path):
    made = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        _, path = fuzz.make_case(kinds, 5, tmp_path / name)
        made.append(path.read_bytes())
    assert made[0] == made[1]


def test_what_no_reader_foresaw_is_a_fault(fuzz, monkeypatch):
    def stumble(path):
        raise KeyError("oddity")

    monkeypatch.setattr(fuzz, "open_scan", stumble)
    assert fuzz.outcome(Path("scan.nii")) == "KeyError: 'oddity'"
