import json
import os
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from tdafd_cli.commands.weights import app
from tdafd_cli.weights.file import save_weights
from tdafd_cli.weights.registry import read_registry
from tdafd_cli.weights.store import load_weights


def run(*arguments):
    return CliRunner().invoke(app, [str(word) for word in arguments], catch_exceptions=False)


def told(*arguments):
    result = run(*arguments, "--json")
    assert result.exit_code == 0, result.stderr
    assert result.stdout.count("\n") == 1
    return json.loads(result.stdout)


def refused(*arguments):
    result = run(*arguments)
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith("error: ")
    assert result.stderr.count("\n") == 1
    return result.stderr


@pytest.fixture
def real_site(make_site, tiny_network, tmp_path):
    """Site whose weights are a network's, at scale 2."""
    path = tmp_path / "trained.safetensors"
    about = {"recipe": {"seed": 3, "dataset": {"patch": 32}}, "note": "a\x1b[2Jb"}
    save_weights(path, tiny_network, about)
    return make_site(path.read_bytes())


def test_list_tells_where_weights_are(site):
    assert [row["where"] for row in told("list")] == [None]
    site.bundled.write_bytes(site.content)
    assert [row["where"] for row in told("list")] == ["bundled"]
    run("download", "tdafd-x3")
    row = told("list")[0]
    assert row["where"] == "cached"
    assert (row["name"], row["scale"], row["sha256"]) == ("tdafd-x3", 3, site.entry.sha256)
    assert run("list").stdout.splitlines() == [
        "NAME      SCALE  VERSION  SIZE    WHERE   RECIPE  LICENCE",
        "tdafd-x3  x3     1.2      0.3 MB  cached  -       CC0-1.0",
    ]


def test_info_tells_scores_licence_and_recipe(real_site):
    about = told("info", "tdafd-x3")
    assert "metadata" not in about
    assert about["scores"] == {"validation_gains_db": {"kspace": 1.5}}
    run("download", "tdafd-x3")
    about = told("info", "tdafd-x3")
    assert about["path"] == str(real_site.cached)
    assert about["metadata"]["recipe"] == {"seed": 3, "dataset": {"patch": 32}}
    short = run("info", "tdafd-x3").stdout
    assert len(short.splitlines()) < 20
    assert "gain over interpolation, validation: kspace +1.50 dB\n" in short
    assert "recipe: in the file\n" in short
    lines = run("info", "tdafd-x3", "--full").stdout.splitlines()
    assert "licence: CC0-1.0" in lines
    assert "    kspace: 1.5" in lines
    assert "      patch: 32" in lines
    assert '  note: "a\\u001b[2Jb"' in lines


def test_info_tells_about_a_users_own_file(real_site, tmp_path):
    about = told("info", tmp_path / "trained.safetensors")
    assert (about["name"], about["metadata"]["scale"]) == ("trained", 2)
    assert "No such file" in refused("info", tmp_path / "none.safetensors")


def test_download_fetches_even_what_is_bundled(site):
    site.bundled.write_bytes(site.content)
    rows = told("download", "tdafd-x3")
    assert rows == [{"name": "tdafd-x3", "path": str(site.cached), "sha256": site.entry.sha256}]
    assert run("download", "--all").stdout == f"tdafd-x3: {site.cached}\n"
    assert run("download", "--all", "--quiet").stdout == ""
    assert len(site.server.asked) == 1


def test_download_to_a_folder_makes_a_mirror(site, tmp_path, monkeypatch):
    mirror = tmp_path / "mirror"
    assert run("download", "--all", "--to", mirror).exit_code == 0
    assert not site.cache.exists()
    monkeypatch.setenv("TDAFD_WEIGHTS_URL", mirror.as_uri())
    assert run("download", "tdafd-x3").exit_code == 0
    assert site.cached.read_bytes() == site.content
    assert len(site.server.asked) == 1


def test_download_to_a_folder_copies_what_is_at_hand(site, tmp_path):
    site.bundled.write_bytes(site.content)
    mirror = tmp_path / "mirror"
    assert run("download", "--all", "--to", mirror).exit_code == 0
    assert (mirror / site.entry.place).read_bytes() == site.content
    assert not site.server.asked


@pytest.mark.parametrize("arguments", [[], ["tdafd-x3", "--all"], ["--to", "folder"]])
def test_download_of_nothing_or_of_both_is_a_usage_error(site, arguments):
    assert run("download", *arguments).exit_code == 2


def test_failures_are_one_line(site, tmp_path, monkeypatch):
    site.server.files.clear()
    assert "answered 404 Not Found" in refused("download", "tdafd-x3")
    assert "unknown weights; there are tdafd-x3" in refused("download", "../x")
    (tmp_path / "file").touch()
    assert "cannot be made: Not a directory" in refused(
        "download", "tdafd-x3", "--to", tmp_path / "file"
    )
    monkeypatch.delenv("TDAFD_WEIGHTS_URL")
    assert "set TDAFD_WEIGHTS_URL" in refused("download", "tdafd-x3")
    site.registry.write_text("[")
    assert "not TOML" in refused("list")


def test_path_tells_where_weights_are_without_fetching_them(site):
    assert "run `tdafd weights download tdafd-x3`" in refused("path", "tdafd-x3")
    assert not site.server.asked
    site.bundled.write_bytes(site.content)
    assert run("path", "tdafd-x3").stdout == f"{site.bundled}\n"
    assert told("path", "tdafd-x3") == {"name": "tdafd-x3", "path": str(site.bundled)}


def test_verify_finds_what_is_damaged_or_missing(site):
    assert told("verify") == []
    result = run("verify", "tdafd-x3")
    assert (result.exit_code, result.stdout) == (1, "tdafd-x3: nowhere: missing\n")
    assert "`tdafd weights download tdafd-x3` gets a whole one" in result.stderr
    run("download", "tdafd-x3")
    assert told("verify", "tdafd-x3") == told("verify")
    assert run("verify").stdout == f"tdafd-x3: {site.cached}: intact\n"
    site.bundled.write_bytes(b"half")
    result = run("verify", "--json")
    assert result.exit_code == 1
    assert [row["state"] for row in json.loads(result.stdout)] == ["intact", "damaged"]


def test_verify_checks_all_of_a_users_own_file(real_site, tiny_network, tmp_path):
    path = tmp_path / "trained.safetensors"
    assert run("verify", path).stdout == f"trained: {path}: intact\n"
    whole = path.read_bytes()
    path.write_bytes(whole[:-6] + bytes([whole[-6] ^ 1]) + whole[-5:])
    result = run("verify", path)
    assert (result.exit_code, result.stderr) == (
        1,
        "error: trained: not intact; copy or train it anew\n",
    )
    assert "its numbers are not those that were saved" in result.stdout
    tiny_network.head.bias.data[0] = float("nan")
    save_weights(path, tiny_network, {})
    assert "head.bias holds values that are not finite" in run("verify", path).stdout


def test_verify_goes_on_to_the_next_name(real_site, tmp_path):
    path = tmp_path / "trained.safetensors"
    result = run("verify", "nope", tmp_path / "none.safetensors", path)
    nope, none, trained = result.stdout.splitlines()
    assert nope == "nope: nowhere: unknown"
    assert none.startswith(f"none: {tmp_path / 'none.safetensors'}: cannot read weights: No such")
    assert trained == f"trained: {path}: intact"
    assert result.stderr == (
        "error: nope, none: not intact; `tdafd weights list` shows what there is\n"
    )


def test_clean_empties_the_cache(site):
    run("download", "tdafd-x3")
    removed = told("clean")["removed"]
    assert str(site.cached) in removed
    assert run("clean").stdout == f"{site.cache}: 0 files removed\n"
    assert run("clean", "--quiet").stdout == ""


def test_register_makes_a_name_of_a_file(real_site, tmp_path):
    path = tmp_path / "trained.safetensors"
    assert "impossible licence" in refused("register", path, "--name", "tdafd-x2")
    result = run("register", path, "--name", "tdafd-x2", "--licence", "CC0-1.0")
    entry = read_registry()["tdafd-x2"]
    assert result.stdout == f"tdafd-x2: version 1, SHA-256 {entry.sha256}\n"
    assert load_weights("tdafd-x2", scale=2).path == real_site.bundled.with_name(entry.file)
    assert "register" not in run("--help").stdout


def test_register_refuses_what_cannot_be_loaded(real_site, tiny_network, tmp_path):
    path = tmp_path / "trained.safetensors"
    tiny_network.head.bias.data[0] = float("nan")
    save_weights(path, tiny_network, {"licence": "CC0-1.0"})
    before = real_site.registry.read_bytes()
    assert "head.bias holds values that are not finite" in refused("register", path)
    assert real_site.registry.read_bytes() == before


def test_torch_is_imported_only_to_check_a_file(site):
    program = (
        "import sys\n"
        "from typer.testing import CliRunner\n"
        "from tdafd_cli.commands.weights import app\n"
        "for words in ['list', 'download --all', 'path tdafd-x3', 'verify', 'clean']:\n"
        "    assert CliRunner().invoke(app, words.split()).exit_code == 0, words\n"
        "assert 'torch' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_a_watching_person_sees_a_bar_of_bytes(site):
    pty = pytest.importorskip("pty", reason="needs a terminal of POSIX")
    leader, follower = pty.openpty()
    program = "from tdafd_cli.commands.weights import app; app()"
    subprocess.run(
        [sys.executable, "-c", program, "download", "tdafd-x3"], stderr=follower, check=True
    )
    os.close(follower)
    shown = os.read(leader, 1 << 16).decode()
    os.close(leader)
    assert "Downloading tdafd-x3" in shown
    assert "300.0" in shown
