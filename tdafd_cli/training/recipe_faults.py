"""Faults of a recipe's values, told in the words of whoever wrote it: which name, what, and why."""

import math
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from difflib import get_close_matches
from types import UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

POSITIVE = frozenset(
    {
        "steps",
        "learning_rate",
        "gradient_clip",
        "validate_every",
        "dataset.patch",
        "dataset.batch",
        "dataset.pool",
        "dataset.steps_per_pair",
        "dataset.sources.weight",
        "dataset.synthetic.edge",
        "dataset.synthetic.pairs",
        "cooldown",
    }
)
"""Numbers that cannot be 0, beside all of the network's; none can be negative."""

SHARES = frozenset(
    {
        "final_fraction",
        "ema_decay",
        "cooldown",
        "dataset.foreground",
        "dataset.synthetic.noise",
        "dataset.synthetic.air",
        "dataset.processing.artefacts",
        "dataset.degradation.kspace",
        "dataset.degradation.gaussian",
        "dataset.degradation.average",
        "dataset.degradation.mixed_axes",
    }
)
"""Numbers that cannot exceed 1, beside all probabilities."""

KINDS = {int: "a whole number", float: "a number", str: "text", bool: "true or false"}


def check_values(values: Mapping[str, Any], record: type, table: str = "") -> None:
    """Raise `ValueError` on the first name or value that a record cannot have.

    Parameters
    ----------
    values : mapping
        As in a TOML file.
    record : type
        Dataclass, whose fields may be dataclasses or tuples of them.
    table : str
        Where in the file the values stand, as in ``dataset.contrast``.
    """
    types = get_type_hints(record)
    names = [each.name for each in fields(record)]
    for name, value in values.items():
        full = f"{table}.{name}" if table else name
        if name not in names:
            raise ValueError(_unknown(name, names, table))
        _check(value, types[name], full)


def _unknown(name: str, names: list[str], table: str) -> str:
    where = f" under [{table}]" if table else ""
    nearest = get_close_matches(name, names, n=1)
    advice = f"did you mean {nearest[0]}?" if nearest else f"there are {', '.join(names)}"
    return f"unknown name {name}{where}; {advice}"


def _check(value: Any, kind: Any, name: str) -> None:
    if is_dataclass(kind):
        assert isinstance(kind, type)
        if not isinstance(value, Mapping):
            raise ValueError(f"{name} must be a table, [{name}], got {value!r}")
        check_values(value, kind, name)
    elif get_origin(kind) is tuple:
        _check_list(value, get_args(kind), name)
    elif get_origin(kind) in (Union, UnionType):
        _check(value, next(each for each in get_args(kind) if each is not type(None)), name)
    elif kind in KINDS:
        _check_plain(value, kind, name)


def _check_list(value: Any, kinds: tuple[Any, ...], name: str) -> None:
    if not isinstance(value, list):
        tables = f", written [[{name}]]" if is_dataclass(kinds[0]) else ", as in [1.0, 2.0]"
        raise ValueError(f"{name} must be a list{tables}, got {value!r}")
    if kinds[-1] is not Ellipsis and len(value) != len(kinds):
        raise ValueError(f"{name} must have {len(kinds)} values, got {value!r}")
    for each in value:
        _check(each, kinds[0], name)


def _check_plain(value: Any, kind: Any, name: str) -> None:
    wanted: Any = (int, float) if kind is float else kind
    if not isinstance(value, wanted) or (isinstance(value, bool) and kind is not bool):
        raise ValueError(f"{name} must be {KINDS[kind]}, got {value!r}")
    if kind not in (int, float):
        return
    if not math.isfinite(value) or value < 0:
        raise ValueError(f"{name} cannot be {value!r}; it is 0 or more")
    if value == 0 and (name in POSITIVE or name.startswith("network.")):
        raise ValueError(f"{name} cannot be 0; it is more")
    if value > 1 and (name in SHARES or name.endswith("probability")):
        raise ValueError(f"{name} cannot be {value!r}; it is at most 1")
