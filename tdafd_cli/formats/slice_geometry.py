"""Sidecar: what a BIDS JSON file beside a scan says of its slices."""

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

THICKNESS, SPACING = "SliceThickness", "SpacingBetweenSlices"
SUFFIXES = (".nii.gz", ".nii")


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
    """Name of the JSON file that goes with a NIfTI file.

    >>> sidecar_path(Path("sub-01_T2w.nii.gz")).name
    'sub-01_T2w.json'
    """
    name = volume.name
    suffix = next((end for end in SUFFIXES if name.lower().endswith(end)), volume.suffix)
    return volume.with_name(f"{name.removesuffix(name[len(name) - len(suffix) :])}.json")


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
