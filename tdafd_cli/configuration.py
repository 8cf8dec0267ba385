"""TOML files: recipes, the registry and the user's configuration."""

import sys
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from tdafd_cli.errors import TdafdError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


KNOWN: Mapping[str, tuple[str, ...]] = {"weights": ("url",)}
"""Tables of the user's configuration, and the names in each."""


def read_configuration(path: Path, error: type[TdafdError]) -> dict[str, dict[str, Any]]:
    """Tables of the user's configuration file; none if there is no such file.

    Raises
    ------
    error
        In one line: the file cannot be read, or holds a name that means nothing here.
    """
    if not path.exists():
        return {}
    values = read_toml(path, "configuration", error)
    for table, about in values.items():
        if table not in KNOWN:
            raise error(f"{path}: unknown name {_guessed(table, KNOWN)}")
        if not isinstance(about, dict):
            raise error(f"{path}: {table} must be a table; write [{table}], and its names below")
        for name in about:
            if name not in KNOWN[table]:
                raise error(f"{path}: unknown name under [{table}]: {_guessed(name, KNOWN[table])}")
    return values


def _guessed(name: str, known: Iterable[str]) -> str:
    """A name nobody knows, and what may have been meant."""
    nearest = get_close_matches(name, known, n=1)
    advice = f"did you mean {nearest[0]}?" if nearest else f"there is {', '.join(known)}"
    return f"{name}; {advice}"


def read_toml(path: Path, name: str, error: type[TdafdError]) -> dict[str, Any]:
    """Values in a TOML file.

    Parameters
    ----------
    path : Path
    name : str
        What it is, for the message: "recipe", say.
    error : type
        Raised, with one line, if the file cannot be read or is not TOML.
    """
    try:
        values: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as cause:
        raise error(f"{path}: cannot read the {name}: {cause.strerror}; check its name") from cause
    except UnicodeDecodeError as cause:
        raise error(f"{path}: not TOML: no text in UTF-8; save the {name} as that") from cause
    except tomllib.TOMLDecodeError as cause:
        raise error(f"{path}: not TOML: {cause}; mend that line of the {name}") from cause
    return values
