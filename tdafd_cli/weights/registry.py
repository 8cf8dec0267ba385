"""The registry: which weights exist, their properties and where their files are.

It is one TOML file, ``registry.toml`` in the folder of the weights that come with the program, and
is written by :func:`register` only.
"""

import math
import os
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import dacite
import tomli_w

from tdafd_cli.configuration import read_toml
from tdafd_cli.errors import WeightsError
from tdafd_cli.output import replacing, sha256
from tdafd_cli.sampling.factors import Factors, factors_of
from tdafd_cli.weights.metadata import SUFFIX, read_metadata

REGISTRY_VARIABLE = "TDAFD_REGISTRY"
REGISTRY_FILE = "registry.toml"
HEADING = "# Weights known by name. Written by `tdafd weights register FILE`.\n\n"

NAME = re.compile(r"[a-z0-9]+([._-][a-z0-9]+)*")
VERSION = re.compile(r"\d{1,6}(\.\d{1,6}){0,3}")
NAME_LENGTH = 64
PLACE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*)*")
SHA256 = re.compile(r"[0-9a-f]{64}")
SCORES = ("scores", "validation_gains_db")
"""Metadata of a weights file that the registry repeats: numbers by name, such as gains in dB."""


@dataclass(frozen=True)
class Entry:
    """One set of weights that is known by name.

    Attributes
    ----------
    name : str
        Lower-case letters and digits, with single ``.``, ``_`` or ``-`` between them.
    version : str
        Numbers with dots between them; new contents get a new version.
    scale : int
        High voxels per low voxel along each axis that is made finer.
    file : str
        Name of the file among those that come with the program.
    sha256 : str
        Of the file, as 64 hexadecimal digits.
    size : int
        Of the file, in bytes.
    licence : str
        Terms of use, in one line.
    sources : tuple of str
        Places relative to a mirror's address, tried in their order; the first is `place`.
    scores : mapping
        What validation found: numbers by name, or such mappings by name.
    axes : {3, 1}
        Axes that are made finer: all, or slices alone.
    """

    name: str
    version: str
    scale: int
    file: str
    sha256: str
    size: int
    licence: str
    sources: tuple[str, ...]
    scores: Mapping[str, Any] = field(default_factory=dict)
    axes: int = 3

    def __post_init__(self) -> None:
        valid = {
            "name": NAME.fullmatch(self.name) and len(self.name) <= NAME_LENGTH,
            "version": VERSION.fullmatch(self.version),
            "scale": self.scale >= 2,
            "axes": self.axes in (1, 3),
            "file": _is_place(self.file) and "/" not in self.file,
            "sha256": SHA256.fullmatch(self.sha256),
            "size": self.size > 0,
            "licence": self.licence and self.licence.isprintable(),
            "sources": self.sources[:1] == (self.place,) and all(map(_is_place, self.sources)),
        }
        for name in (name for name, is_valid in valid.items() if not is_valid):
            raise ValueError(f"{self.name!r}: impossible {name} {getattr(self, name)!r}")

    @property
    def factors(self) -> Factors:
        """High voxels per low voxel along I, J and K, slices along K."""
        return factors_of(self.scale) if self.axes == 3 else (1, 1, self.scale)

    @property
    def place(self) -> str:
        """Where the file is in every cache and every mirror: no version overwrites another."""
        return f"{self.name}/{self.version}/{self.name}{SUFFIX}"

    def fits(self, path: Path) -> bool:
        """Whether a file has this entry's size and SHA-256; not if it cannot be read."""
        try:
            return path.stat().st_size == self.size and sha256(path) == self.sha256
        except OSError:
            return False


def registry_path() -> Path:
    """File of the registry: inside the package, at the top of a checkout, or as the user says."""
    if chosen := os.environ.get(REGISTRY_VARIABLE):
        return Path(chosen)
    package = Path(__file__).parents[1]
    installed = package / "_weights"
    folder = installed if installed.is_dir() else package.parent / "weights"
    return folder / REGISTRY_FILE


def read_registry(path: Path | None = None) -> dict[str, Entry]:
    """Every entry by name, in the names' order.

    Parameters
    ----------
    path : Path, optional
        TOML file; `registry_path` by default.

    Raises
    ------
    WeightsError
        If the file cannot be read, or holds what no entry may: a name or place that leads out of
        its folder, say.
    """
    path = path or registry_path()
    values = read_toml(path, "registry", WeightsError)
    try:
        entries = [_entry(name, about) for name, about in values.items()]
    except ValueError as error:
        raise WeightsError(
            f"{path}: not a registry: {error}; `tdafd weights register` writes one "
            f"({REGISTRY_VARIABLE} names it)"
        ) from error
    return {entry.name: entry for entry in sorted(entries, key=lambda entry: entry.name)}


def find_entry(name: str) -> Entry:
    """Entry of a name.

    Raises
    ------
    WeightsError
        If there is none; the message lists those there are.
    """
    entries = read_registry()
    if name not in entries:
        known = ", ".join(entries) or "none"
        raise WeightsError(f"{name}: unknown weights; there are {known}, or give a {SUFFIX} file")
    return entries[name]


def is_file_name(text: str) -> bool:
    """Whether text names a file rather than an entry; a file that exists always does."""
    path = Path(text)
    return path.suffix.lower() == SUFFIX or path.name != text or path.is_file()


def bundled_path(entry: Entry) -> Path:
    """Where an entry's file is if it comes with the program; it may not be there."""
    return registry_path().with_name(entry.file)


def register(
    path: Path, *, name: str | None = None, version: str | None = None, licence: str | None = None
) -> Entry:
    """Add a weights file to the registry, or update its entry, from the file's metadata.

    Parameters
    ----------
    path : Path
        Copied beside the registry unless it is there.
    name : str, optional
        That of the file by default.
    version : str, optional
        By default 1 for a new name, and the next one if the contents changed.
    licence : str, optional
        By default what the metadata say, or the entry said before.

    Raises
    ------
    WeightsError, OutputError
        If the file is no weights file, the entry would be impossible, or the registry cannot be
        written.
    """
    registry = registry_path()
    entries = read_registry(registry) if registry.exists() else {}
    metadata = read_metadata(path)
    name = name or path.stem
    digest, before = sha256(path), entries.get(name)
    version = version or _next_version(before, digest)
    try:
        entry = Entry(
            name=name,
            version=version,
            scale=metadata["scale"],
            file=f"{name}{SUFFIX}",
            sha256=digest,
            size=path.stat().st_size,
            licence=licence or metadata.get("licence") or (before.licence if before else ""),
            sources=(f"{name}/{version}/{name}{SUFFIX}",),
            scores=_numbers({key: metadata[key] for key in SCORES if key in metadata}),
            axes=metadata.get("config", {}).get("axes", 3),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise WeightsError(f"{path}: cannot be registered: {error}") from error
    _copy(path, registry.with_name(entry.file))
    _write_registry(registry, {**entries, name: entry})
    return entry


def _is_place(text: str) -> bool:
    return bool(PLACE.fullmatch(text)) and text.endswith(SUFFIX)


def _entry(name: str, about: object) -> Entry:
    if not isinstance(about, Mapping):
        raise ValueError(f"{name!r} is not a table")
    try:
        return dacite.from_dict(
            Entry, {**about, "name": name}, dacite.Config(strict=True, cast=[tuple])
        )
    except dacite.DaciteError as error:
        raise ValueError(f"{name!r}: {_reason(error)}") from error


def _reason(error: dacite.DaciteError) -> str:
    """What is wrong with an entry, without the phrases of the library that converts it."""
    if isinstance(error, dacite.MissingValueError):
        return f"{error.field_path} is missing"
    if isinstance(error, dacite.WrongTypeError):
        return f"impossible {error.field_path} {error.value!r}"
    if isinstance(error, dacite.UnexpectedDataError):
        return f"unknown {', '.join(sorted(error.keys))}"
    return " ".join(str(error).split())


def _next_version(before: Entry | None, sha256: str) -> str:
    if before is None:
        return "1"
    if before.sha256 == sha256:
        return before.version
    *rest, last = before.version.split(".")
    return ".".join([*rest, str(int(last) + 1)])


def _numbers(scores: Mapping[str, Any]) -> dict[str, Any]:
    """Finite numbers of nested scores, which both TOML and JSON can hold."""
    kept: dict[str, Any] = {}
    for name, value in scores.items():
        if isinstance(value, Mapping):
            kept[name] = _numbers(value)
        elif isinstance(value, int | float) and math.isfinite(value):
            kept[name] = value
    return kept


def _copy(source: Path, target: Path) -> None:
    if target.exists() and target.samefile(source):
        return
    with replacing(target) as file:
        file.write(source.read_bytes())


def _write_registry(path: Path, entries: Mapping[str, Entry]) -> None:
    tables = {name: asdict(entries[name]) for name in sorted(entries)}
    for table in tables.values():
        del table["name"]
        if table["axes"] == 3:  # as goes without saying
            del table["axes"]
    with replacing(path) as file:
        file.write((HEADING + tomli_w.dumps(tables)).encode())
