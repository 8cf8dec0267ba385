"""Sidecars: files beside a series that tell of its volumes, copied beside the result."""

from dataclasses import dataclass
from pathlib import Path

from tdafd_cli.errors import VolumeError
from tdafd_cli.output import check_writable, replacing
from tdafd_cli.volumes.formats import SUFFIXES
from tdafd_cli.volumes.streams import naming

TABLES = (".bval", ".bvec")
"""Of diffusion scans: one column for each volume."""
OTHERS = (".json",)


@dataclass(frozen=True)
class Sidecar:
    """A file beside the source, and where its copy goes."""

    source: Path
    target: Path


def find_sidecars(source: Path, target: Path) -> list[Sidecar]:
    """Sidecars of a source that are not the target's own already."""
    found = []
    for suffix in (*TABLES, *OTHERS):
        path = source.with_name(_stem(source) + suffix)
        copy = target.with_name(_stem(target) + suffix)
        if path.is_file() and not (copy.exists() and copy.samefile(path)):
            found.append(Sidecar(path, copy))
    return found


def check_sidecars(sidecars: list[Sidecar], overwrite: bool) -> None:
    """Raise `OutputError` if one would be refused, before any computing."""
    for sidecar in sidecars:
        check_writable(sidecar.target, overwrite, source=sidecar.source)


def copy_sidecars(sidecars: list[Sidecar], numbers: range, count: int) -> None:
    """Copy sidecars: untouched, but for tables where not all ``count`` volumes were taken.

    Raises
    ------
    VolumeError
        A table has another number of columns than the series has volumes.
    OutputError
        Writing fails.
    """
    for sidecar, content in [(each, _content(each.source, numbers, count)) for each in sidecars]:
        with replacing(sidecar.target) as file:
            file.write(content)


def _content(path: Path, numbers: range, count: int) -> bytes:
    with naming(path):
        content = path.read_bytes()
        if path.suffix not in TABLES or len(numbers) == count:
            return content
        rows = [line.split() for line in content.splitlines() if line.strip()]
        if any(len(row) != count for row in rows):
            raise VolumeError(
                f"expected {count} columns, one for each volume; repair it, or move it away"
            )
    return b"".join(b" ".join(row[number] for number in numbers) + b"\n" for row in rows)


def _stem(path: Path) -> str:
    name = path.name
    endings = [suffix for suffix in SUFFIXES if name.lower().endswith(suffix)]
    return name[: -len(max(endings, key=len))] if endings else path.stem
