"""Limits within which the house stays one that a reader finds their way in."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import tdafd_cli

PACKAGE = Path(tdafd_cli.__file__).parent
MODULES = sorted(PACKAGE.rglob("*.py"))
ROOMS = sorted(path.parent for path in PACKAGE.glob("*/__init__.py"))

MOST_NAMES_AT_THE_TOP = 20
MOST_MODULES_IN_A_ROOM = 15  # about a dozen
MOST_LINES = 400
MOST_LINES_OF_A_FUNCTION = 60  # after its signature, which lists a command's options, and docstring


def place(path: Path) -> str:
    return path.relative_to(PACKAGE).as_posix()


def functions(path: Path) -> Iterator[ast.FunctionDef]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef))


def lines_of(function: ast.FunctionDef) -> int:
    documented = ast.get_docstring(function) is not None and len(function.body) > 1
    assert function.end_lineno is not None
    return function.end_lineno - function.body[documented].lineno + 1


def test_the_top_is_seen_at_a_glance():
    names = [path.name for path in PACKAGE.iterdir() if not path.name.startswith(("_", "."))]
    assert len(names) + len(["__init__", "__main__"]) <= MOST_NAMES_AT_THE_TOP, sorted(names)


@pytest.mark.parametrize("room", ROOMS, ids=place)
def test_no_room_is_crowded(room):
    modules = [path.stem for path in room.glob("*.py") if path.stem != "__init__"]
    assert len(modules) <= MOST_MODULES_IN_A_ROOM, sorted(modules)


@pytest.mark.parametrize("path", MODULES, ids=place)
def test_no_module_is_long(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= MOST_LINES


@pytest.mark.parametrize("path", MODULES, ids=place)
def test_no_function_is_long(path):
    for function in functions(path):
        assert lines_of(function) <= MOST_LINES_OF_A_FUNCTION, function.name


@pytest.mark.parametrize("path", MODULES, ids=place)
def test_a_module_says_what_it_is_for(path):
    docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
    assert docstring
    assert docstring.splitlines()[0].endswith((".", ":"))


@pytest.mark.parametrize("room", ROOMS, ids=place)
def test_a_room_names_what_others_use_and_imports_nothing(room):
    tree = ast.parse((room / "__init__.py").read_text(encoding="utf-8"))
    assert [type(node) for node in tree.body] == [ast.Expr]  # see CONTRIBUTING: it would load torch
    used = re.findall(r"`(\w+)\.(\w+)`", ast.get_docstring(tree) or "")
    assert used
    for module, name in used:
        inside = ast.parse((room / f"{module}.py").read_text(encoding="utf-8")).body
        defined = {getattr(node, "name", None) for node in inside}
        targets = [target for node in inside for target in _targets(node)]
        assert name in defined | {target.id for target in targets if isinstance(target, ast.Name)}


def _targets(node: ast.stmt) -> list[ast.expr]:
    if isinstance(node, ast.Assign):
        return node.targets
    return [node.target] if isinstance(node, ast.AnnAssign) else []
