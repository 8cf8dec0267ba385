"""Sidecars: files beside a scan that tell of its volumes or slices, copied beside the result."""

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tdafd_cli.errors import VolumeError
from tdafd_cli.formats.files import SUFFIXES
from tdafd_cli.formats.streams import naming
from tdafd_cli.output import check_writable, replacing

TABLES = (".bval", ".bvec")
"""Of diffusion scans: one column for each volume."""
OTHERS = (".json",)

THICKNESS, SPACING = "SliceThickness", "SpacingBetweenSlices"


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


@dataclass(frozen=True)
class SliceGeometry:
    """How thick slices are, and how far apart; None where nothing is said.

    Attributes
    ----------
    thickness_mm, spacing_mm : float, optional
    """

    thickness_mm: float | None = None
    spacing_mm: float | None = None


def sidecar_path(volume: Path) -> Path:
    """Name of the JSON file that goes with a scan.

    >>> sidecar_path(Path("sub-01_T2w.nii.gz")).name
    'sub-01_T2w.json'
    """
    return volume.with_name(_stem(volume) + ".json")


def slice_geometry(volume: Path | None) -> SliceGeometry:
    """What the sidecar of a file says; nothing if there is none, or it cannot be used.

    A sidecar tells, it decides nothing: one that is damaged is no reason to refuse the scan.
    """
    if volume is None:
        return SliceGeometry()
    try:
        about: Any = json.loads(sidecar_path(volume).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return SliceGeometry()
    if not isinstance(about, dict):
        return SliceGeometry()
    return SliceGeometry(_length(about.get(THICKNESS)), _length(about.get(SPACING)))


def _length(value: object) -> float | None:
    """A length above zero in mm, or None."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if 0 < value < math.inf else None
