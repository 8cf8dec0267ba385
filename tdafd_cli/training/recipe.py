"""Recipes: the TOML files that say how weights are trained."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import dacite
import tomli_w

from tdafd_cli.configuration import read_toml
from tdafd_cli.errors import RecipeError
from tdafd_cli.output import replacing
from tdafd_cli.training.recipe_faults import check_values
from tdafd_cli.training.settings import TrainingConfig

UNSHAPING = {"dataset.workers", "checkpoint_minutes"}
"""Settings that change nothing but time, so that a run may be resumed with others."""

CONVERSIONS = dacite.Config(strict=True, cast=[tuple], type_hooks={float: float})


def read_recipe(path: Path) -> TrainingConfig:
    """Training configuration in a TOML file whose tables mirror :class:`TrainingConfig`.

    Raises
    ------
    RecipeError
        If the file cannot be read, is not TOML, or holds an unknown name or an impossible value.
    """
    values = read_toml(path, "recipe", RecipeError)
    try:
        check_values(values, TrainingConfig)
        return config_from(values)
    except (dacite.DaciteError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise RecipeError(f"{path}: {reason}; mend the recipe") from error


def config_from(values: Mapping[str, Any]) -> TrainingConfig:
    """Training configuration from nested plain values; what is missing takes its default."""
    return dacite.from_dict(TrainingConfig, values, CONVERSIONS)


def write_recipe(path: Path, config: TrainingConfig) -> None:
    """Write a configuration, as :func:`read_recipe` reads it: the whole file or nothing.

    Raises
    ------
    OutputError
        If it cannot be written. What stood at ``path`` is still there.
    """
    with replacing(path) as file:
        file.write(tomli_w.dumps(asdict(config)).encode())


def differing_settings(config: TrainingConfig, other: TrainingConfig) -> list[str]:
    """Names of the settings that shape weights and differ, as in ``dataset.batch``.

    >>> from dataclasses import replace
    >>> config = TrainingConfig()
    >>> differing_settings(config, replace(config, steps=5, seed=7))
    ['seed', 'steps']
    """
    values, others = _flat(asdict(config)), _flat(asdict(other))
    return sorted(
        name for name in values.keys() - UNSHAPING if values.get(name) != others.get(name)
    )


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in values.items():
        flat |= (
            _flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {prefix + name: value}
        )
    return flat
