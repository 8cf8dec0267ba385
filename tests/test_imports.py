import ast
from pathlib import Path

import pytest

import tdafd_cli

PACKAGE = Path(tdafd_cli.__file__).parent
# Rooms from the ground up. A module imports from its own room, without a circle, and from rooms
# of rows above its own; rooms of one row do not import each other.
ROWS = (
    "sampling",
    "networks machine",
    "weights volumes",
    "formats",
    "inference pictures",
    "evaluation",
    "training benchmark",
    "commands",
    "cli",
    "__main__",
)
# Imported from anywhere; they import only from one another.
EVERYWHERE = {"configuration", "errors", "output", "provenance"}
# "importer imported": what breaks the order for now, and why.
EXCEPTIONS: dict[str, str] = {}

HEIGHT = {name: height for height, row in enumerate(ROWS) for name in row.split()}
TOP = {"cli", "__main__"} | EVERYWHERE  # modules beside the rooms


def dotted(path: Path) -> str:
    """Name of a module within the package, as in ``sampling.matrices``."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


PATHS = {name: path for path in sorted(PACKAGE.rglob("*.py")) if (name := dotted(path))}
MODULES = sorted(PATHS)
ROOMS = sorted(path.parent.name for path in PACKAGE.glob("*/__init__.py"))
# Slow to import, so that `--help` and usage errors must do without them.
SLOW = {"torch", "numpy", "nibabel", "SimpleITK", "skimage", "scipy", "PIL"}


def imported(module: str, *, everywhere: bool) -> set[str]:
    """Full names of what a module imports: everywhere, or only as it is itself imported."""
    tree = ast.parse(PATHS[module].read_text(encoding="utf-8"))
    names: set[str] = set()
    pending: list[ast.AST] = list(ast.iter_child_nodes(tree))
    while pending:
        node = pending.pop()
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: relative imports hide the order"
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
        elif everywhere or not (isinstance(node, ast.FunctionDef) or _only_for_types(node)):
            pending.extend(ast.iter_child_nodes(node))
    return names


def _only_for_types(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"


def own(names: set[str]) -> set[str]:
    """Modules of this package among imported names."""
    package = f"{tdafd_cli.__name__}."
    inner = [name.removeprefix(package) for name in names if name.startswith(package)]
    return {module for name in inner for module in (name, name.rpartition(".")[0])} & set(MODULES)


def room(module: str) -> str:
    return module.partition(".")[0]


def test_every_module_has_its_place():
    assert {module for module in MODULES if "." not in module} - set(ROOMS) == TOP
    assert set(ROOMS) | {"cli", "__main__"} == set(HEIGHT)
    strays = [path for path in PACKAGE.rglob("*.py") if len(path.relative_to(PACKAGE).parts) > 2]
    assert not strays, "rooms have no rooms"
    missing = [path for path in PACKAGE.glob("*/*.py") if path.parent.name not in ROOMS]
    assert not missing, "a room has an __init__.py"


@pytest.mark.parametrize("module", MODULES)
def test_imports_go_one_way(module):
    for other in own(imported(module, everywhere=True)):
        if f"{module} {other}" in EXCEPTIONS or room(other) == room(module):
            continue
        allowed = room(other) in EVERYWHERE or (
            room(module) not in EVERYWHERE and HEIGHT[room(other)] < HEIGHT[room(module)]
        )
        assert allowed, f"{module} must not import {other}"


@pytest.mark.parametrize("module", MODULES)
def test_no_circle(module):
    pending, seen = own(imported(module, everywhere=True)), set()
    while pending:
        seen |= pending
        assert module not in seen, f"{module} imports itself through others"
        found = {name for other in pending for name in own(imported(other, everywhere=True))}
        pending = found - seen


def test_exceptions_are_needed():
    for exception in EXCEPTIONS:
        module, other = exception.split()
        assert other in own(imported(module, everywhere=True)), f"{exception}: no longer"


@pytest.mark.parametrize("start", ["cli", "inference.settings"])
def test_the_command_line_starts_without_slow_libraries(start):
    pending, seen = {start}, set()
    while pending:
        module = pending.pop()
        seen.add(module)
        names = imported(module, everywhere=False)
        slow = {name.split(".")[0] for name in names} & SLOW
        assert not slow, f"{module}, which {start} imports, imports {slow} at module level"
        rooms = {room(name) for name in own(names)} & set(ROOMS)  # imported before its modules
        pending |= (own(names) | rooms) - seen
