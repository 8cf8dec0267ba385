"""Metadata of a weights file, read without loading its tensors or importing torch."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tdafd_cli.errors import WeightsError

FORMAT = "tdafd-2"
ARCHITECTURE = "TDAFD"
SUFFIX = ".safetensors"
CHECKSUM = "checksum"
"""Of all else in the file; what holds none was saved by an older version."""


def read_metadata(path: Path) -> dict[str, Any]:
    """Metadata of a weights file, whose header is checked against the file's size.

    Raises
    ------
    WeightsError
        If the file cannot be read, is not a whole safetensors file, or not a TDAFD's.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            texts = file.metadata() or {}
    except OSError as error:
        reason = error.strerror or " ".join(str(error).split())
        raise WeightsError(f"{path}: cannot read weights: {reason}; check its name") from error
    except SafetensorError as error:
        raise damaged(path, error) from error
    metadata = {name: from_text(text) for name, text in texts.items()}
    check_format(path, metadata)
    metadata.pop(CHECKSUM, None)
    return metadata


def has_checksum(path: Path) -> bool:
    """Whether a whole weights file holds a checksum of itself."""
    from safetensors import safe_open

    with safe_open(path, framework="numpy") as file:
        return CHECKSUM in (file.metadata() or {})


def damaged(path: Path, error: Exception) -> WeightsError:
    """Error with what the safetensors library found wrong."""
    reason = " ".join(str(error).split())
    return WeightsError(
        f"{path}: not a whole safetensors file: {reason}; copy or download it again"
    )


def check_format(path: Path, metadata: Mapping[str, Any]) -> None:
    """Raise `WeightsError` unless the metadata are those of a TDAFD, in a format known here."""
    found = metadata.get("format")
    if found != FORMAT or metadata.get("architecture") != ARCHITECTURE:
        raise WeightsError(
            f"{path}: not weights of this program: format {found!r} instead of "
            f"{FORMAT!r}; `tdafd weights list` shows those there are"
        )


def to_text(value: Any) -> str:
    """Text stays as it is for human readers, unless it would be taken for JSON."""
    if isinstance(value, str) and from_text(value) == value:
        return value
    return json.dumps(value)


def from_text(text: str) -> Any:
    """Value that :func:`to_text` made the text of.

    >>> from_text('[1, 2]'), from_text('CC-BY 4.0')
    ([1, 2], 'CC-BY 4.0')
    """
    try:
        return json.loads(text)
    except (ValueError, RecursionError):  # not JSON, or built to break its readers
        return text
