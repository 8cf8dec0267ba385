import json

import pytest

from tdafd_cli.benchmark.outputs import PAGE, Outputs, check_outputs, write_outputs
from tdafd_cli.benchmark.results import Failure, Results
from tdafd_cli.errors import OutputError

MADE = {"started": "today", "gpu": None, "cpu": "a CPU", "versions": {"tdafd": "1"}}


def test_only_what_is_asked_for_is_written(tmp_path):
    results = Results(MADE, failures=[Failure("a", "a < b")])
    outputs = Outputs(json=tmp_path / "out.json", report=tmp_path / "new" / "report")
    check_outputs(outputs)
    write_outputs(outputs, results, ())
    written = {path.name for path in tmp_path.rglob("*") if path.is_file()}
    assert written == {"out.json", PAGE}
    assert json.loads((tmp_path / "out.json").read_text())["failures"][0]["message"] == "a < b"
    assert "a &lt; b" in (tmp_path / "new" / "report" / PAGE).read_text()


@pytest.mark.parametrize("name", ["json", "csv", "markdown"])
def test_files_that_exist_are_refused_unless_told(tmp_path, name):
    outputs = Outputs(**{name: tmp_path / "out"})
    (tmp_path / "out").touch()
    with pytest.raises(OutputError, match="out: exists"):
        check_outputs(outputs)
    check_outputs(outputs, overwrite=True)
    assert (tmp_path / "out").read_bytes() == b""


def test_a_page_that_exists_or_cannot_be_is_refused(tmp_path):
    (tmp_path / PAGE).touch()
    with pytest.raises(OutputError, match=r"index\.html: exists"):
        check_outputs(Outputs(report=tmp_path))
    with pytest.raises(OutputError, match=r"index\.html: exists and is not a folder"):
        check_outputs(Outputs(report=tmp_path / PAGE))
