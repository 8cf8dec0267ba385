import json

import pytest
from typer.testing import CliRunner

from tdafd_cli import __version__
from tdafd_cli.cli import app


def doctor(*options):
    return CliRunner().invoke(app, ["doctor", *options], catch_exceptions=False)


@pytest.fixture
def clean(tmp_path, monkeypatch):
    """A machine without a configuration, whose cache is empty."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.setenv("TDAFD_CACHE", str(tmp_path / "cache"))
    for name in ("TDAFD_WEIGHTS_URL", "TDAFD_REGISTRY", "TDAFD_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def test_a_sound_installation_has_no_problem(clean):
    result = doctor("--device", "cpu", "--json")
    assert (result.exit_code, result.stderr) == (0, "")
    told = json.loads(result.stdout)
    assert told["versions"]["tdafd"] == __version__
    assert told["devices"][0]["name"] == "cpu"
    assert "fp32" in told["devices"][0]["precisions"]
    assert told["cache"] == {"folder": str(clean / "cache"), "files": 0, "bytes": 0}
    assert [row["name"] for row in told["weights"]] == ["tdafd-x2", "tdafd-x3", "tdafd-x4"]
    assert all(all(row["copies"].values()) for row in told["weights"])
    assert told["self_test"]["psnr"] > told["self_test"]["psnr_sinc"] + 2
    assert told["backends"]["torch"]
    assert list(clean.iterdir()) == []


def test_what_is_wrong_is_a_line_on_stderr(clean, site, monkeypatch):
    """The site's weights are mere bytes under another scale, and its mirror is no address."""
    monkeypatch.setenv("TDAFD_WEIGHTS_URL", "https://user:secret@host/folder")
    site.bundled.write_bytes(b"half")
    result = doctor("--device", "cpu")
    assert result.exit_code == 1
    damaged, untested = result.stderr.splitlines()
    assert damaged.startswith(f"error: {site.bundled}: damaged weights; `tdafd weights download ")
    assert untested.startswith("error: self-test: no weights for scale 2 ")
    assert "mirror         https://host/folder\n" in result.stdout
    assert "secret" not in result.output
