"""Sidecars: files beside a series that tell of its volumes, copied beside the result."""

from dataclasses import dataclass
from pathlib import Path

from tdafd_cli.errors import VolumeError
from tdafd_cli.formats.files import SUFFIXES
from tdafd_cli.formats.streams import naming
from tdafd_cli.output import check_writable, replacing

TABLES = (".bval", ".bvec")
"""Of diffusion scans: one column for each volume."""
OTHERS = (".json",)


@dataclass(frozen=True)
class Sidecar:
    """What is to stand in a file beside the result."""

    path: Path
    content: bytes


def find_sidecars(
    source: Path, target: Path, numbers: range, count: int, *, overwrite: bool = False
) -> list[Sidecar]:
    """Copies to be made of what lies beside a source, unless it is beside the target already.

    Untouched, but for tables where not all ``count`` volumes are taken.

    Raises
    ------
    VolumeError
        A table has another number of columns than the series has volumes.
    OutputError
        A copy would be refused: one exists, say, and may not be replaced.
    """
    found = []
    for suffix in (*TABLES, *OTHERS):
        path = source.with_name(_stem(source) + suffix)
        copy = target.with_name(_stem(target) + suffix)
        if path.is_file() and not (copy.exists() and copy.samefile(path)):
            check_writable(copy, overwrite, source=path)
            found.append(Sidecar(copy, _content(path, numbers, count)))
    return found


def write_sidecars(sidecars: list[Sidecar]) -> None:
    """Write each whole or not at all; `OutputError` if one cannot be."""
    for sidecar in sidecars:
        with replacing(sidecar.path) as file:
            file.write(sidecar.content)


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
