import hashlib
import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import tomli_w

from tdafd_cli.errors import WeightsError
from tdafd_cli.weights.registry import (
    Entry,
    bundled_path,
    find_entry,
    is_file_name,
    read_registry,
    register,
    registry_path,
)

ENTRY = Entry(
    name="tdafd-x2",
    version="1",
    scale=2,
    file="tdafd-x2.safetensors",
    sha256="0" * 64,
    size=10,
    licence="CC0-1.0",
    sources=("tdafd-x2/1/tdafd-x2.safetensors", "old/tdafd-x2.safetensors"),
    scores={"validation_gains_db": {"kspace": 1.5}},
)


@pytest.fixture
def registry(tmp_path, monkeypatch):
    path = tmp_path / "bundle" / "registry.toml"
    path.parent.mkdir()
    monkeypatch.setenv("TDAFD_REGISTRY", str(path))
    return path


def weights_file(path, content=b"", **about):
    about = {
        "format": "tdafd-2",
        "architecture": "TDAFD",
        "scale": "2",
        "licence": "CC0-1.0",
        "validation_gains_db": '{"kspace": 1.5, "gaussian": NaN}',
        "note": content.hex(),
    } | about
    header = json.dumps({"__metadata__": {k: v for k, v in about.items() if v}}).encode()
    path.write_bytes(len(header).to_bytes(8, "little") + header)
    return path


def test_the_shipped_registry_fits_the_files_beside_it():
    entries = read_registry()
    for entry in entries.values():
        path = bundled_path(entry)
        assert entry.fits(path) or not path.exists(), f"run `tdafd weights register {path}`"
    known = {entry.file for entry in entries.values()}
    assert {path.name for path in registry_path().parent.glob("*.safetensors")} <= known


def test_entries_are_read_as_they_were_written(registry):
    about = asdict(ENTRY)
    registry.write_text(tomli_w.dumps({about.pop("name"): about}))
    assert read_registry() == {ENTRY.name: ENTRY}
    assert find_entry(ENTRY.name) == ENTRY
    assert ENTRY.place == "tdafd-x2/1/tdafd-x2.safetensors"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("name", "../x2"),
        ("name", "a/b"),
        ("name", "a..b"),
        ("name", ".hidden"),
        ("name", "C:x2"),
        ("name", ""),
        ("name", "a\n"),
        ("name", "a" * 65),
        ("version", "../1"),
        ("version", ".."),
        ("version", "1/2"),
        ("version", ""),
        ("scale", 1),
        ("file", "../x.safetensors"),
        ("file", "a/x.safetensors"),
        ("file", "/etc/x.safetensors"),
        ("file", "x.pt"),
        ("sha256", "0" * 63),
        ("sha256", "G" * 64),
        ("size", 0),
        ("licence", ""),
        ("licence", "free\x1b[2J"),
        ("sources", ()),
        ("sources", ("other/1/tdafd-x2.safetensors",)),
        ("sources", (ENTRY.place, "../x.safetensors")),
        ("sources", (ENTRY.place, "a/../../x.safetensors")),
        ("sources", (ENTRY.place, "/x.safetensors")),
        ("sources", (ENTRY.place, "https://host/x.safetensors")),
        ("sources", (ENTRY.place, "a\\..\\x.safetensors")),
        ("sources", (ENTRY.place, "a/%2e%2e/x.safetensors")),
        ("sources", (ENTRY.place, "a/x.pkl")),
    ],
)
def test_impossible_entry_is_refused_wherever_it_comes_from(registry, name, value):
    with pytest.raises(ValueError, match=f"impossible {name} "):
        replace(ENTRY, **{name: value})
    about = asdict(ENTRY) | {name: value}
    registry.write_text(tomli_w.dumps({about.pop("name"): about}))
    with pytest.raises(WeightsError, match=r"registry\.toml: not a registry: ") as caught:
        read_registry()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"[", "not TOML"),
        (b"\xff", "not TOML"),
        (b"a = 1", "not a registry: 'a' is not a table"),
        (b"[a]\nversion = 1", "not a registry"),
    ],
)
def test_registry_that_is_none_is_told(registry, content, reason):
    registry.write_bytes(content)
    with pytest.raises(WeightsError, match=reason):
        read_registry()


def test_missing_registry_is_told(registry):
    with pytest.raises(WeightsError, match=r"registry\.toml: cannot read the registry: No such"):
        read_registry()


def test_unknown_name_is_answered_with_the_known_ones(registry):
    registry.write_text("")
    with pytest.raises(WeightsError, match="x9: unknown weights; there are none, or give a"):
        find_entry("x9")
    register(weights_file(registry.with_name("tdafd-x2.safetensors")))
    with pytest.raises(WeightsError, match=r"\.\./x: unknown weights; there are tdafd-x2, or"):
        find_entry("../x")


def test_a_file_fits_by_size_and_hash(tmp_path):
    path = tmp_path / "file"
    entry = replace(ENTRY, size=3, sha256=hashlib.sha256(b"abc").hexdigest())
    assert not entry.fits(path)
    path.write_bytes(b"abc")
    assert entry.fits(path)
    path.write_bytes(b"abd")
    assert not entry.fits(path)
    path.write_bytes(b"abcd")
    assert not entry.fits(path)
    assert not entry.fits(tmp_path)


def test_registering_enters_what_the_file_tells(registry):
    path = weights_file(registry.with_name("tdafd-x2.safetensors"))
    entry = register(path)
    assert entry == read_registry()["tdafd-x2"]
    assert entry.fits(bundled_path(entry))
    assert (entry.scale, entry.version, entry.licence) == (2, "1", "CC0-1.0")
    assert entry.scores == {"validation_gains_db": {"kspace": 1.5}}


def test_registering_copies_a_file_from_elsewhere(registry, tmp_path):
    path = weights_file(tmp_path / "weights.safetensors", licence="")
    with pytest.raises(WeightsError, match=r"cannot be registered: .* impossible licence"):
        register(path, name="tdafd-x2")
    assert not list(registry.parent.iterdir())
    entry = register(path, name="tdafd-x2", licence="CC-BY-4.0")
    assert bundled_path(entry) == registry.with_name("tdafd-x2.safetensors")
    assert bundled_path(entry).read_bytes() == path.read_bytes()
    assert register(path, name="tdafd-x2").licence == "CC-BY-4.0"


def test_new_contents_get_a_new_version_and_leave_other_entries_alone(registry):
    other = register(weights_file(registry.with_name("other.safetensors")))
    path = registry.with_name("tdafd-x2.safetensors")
    assert register(weights_file(path, b"1"), version="1.9").version == "1.9"
    assert register(path).version == "1.9"
    assert register(weights_file(path, b"2")).version == "1.10"
    assert list(read_registry()) == ["other", "tdafd-x2"]
    assert read_registry()["other"] == other


@pytest.mark.parametrize(
    "about", [{"scale": ""}, {"scale": "no"}, {"licence": "[]"}, {"format": "other"}]
)
def test_registering_an_unfit_file_is_refused(registry, about):
    path = weights_file(registry.with_name("tdafd-x2.safetensors"), **about)
    with pytest.raises(WeightsError, match=r"tdafd-x2\.safetensors: "):
        register(path)
    assert not registry.exists()


@pytest.mark.parametrize(
    "text", ["a.safetensors", "A.SAFETENSORS", "./a", "/a/b", "a/b", "../tdafd-x2"]
)
def test_file_names_are_told_from_names(text):
    assert is_file_name(text)


def test_a_file_that_exists_goes_before_a_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("folder").mkdir()
    Path("tdafd-x2").touch()
    assert is_file_name("tdafd-x2")
    assert not is_file_name("tdafd-x3")
    assert not is_file_name("folder")
