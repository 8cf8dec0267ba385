"""TOML files: recipes, the registry and the user's configuration."""

import sys
from pathlib import Path
from typing import Any

from tdafd_cli.errors import TdafdError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


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
        raise error(f"{path}: cannot read the {name}: {cause.strerror}") from cause
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as cause:
        raise error(f"{path}: not TOML: {cause}") from cause
    return values
