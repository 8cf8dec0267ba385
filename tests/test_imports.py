import ast
from pathlib import Path

import pytest

import tdafd_cli

PACKAGE = Path(tdafd_cli.__file__).parent
# A module imports from rows above its own only.
ROWS = (
    "errors",
    "intensity header output resampling hardware reporting options metadata comparison complexity "
    "provenance superformer "
    "spectrum ensemble",
    "checkpoint volume tiling interpolation degradation metrics augmentation distribution "
    "registry metering",
    "model mirror case peers consistency",
    "cache costs",
    "weights optimisation prediction",
    "inference preview gallery validation",
    "dataset methods",
    "training",
    "recipe benchmark",
    "run tables plots",
    "report",
    "commands_train commands_weights commands_benchmark",
    "cli",
    "__main__",
)
HEIGHT = {name: height for height, row in enumerate(ROWS) for name in row.split()}
MODULES = sorted(path.stem for path in PACKAGE.glob("*.py") if path.stem != "__init__")
# Slow to import, so that `--help` and usage errors must do without them.
SLOW = {"torch", "numpy", "nibabel", "SimpleITK", "skimage", "scipy", "PIL"}


def imported(module: str, *, everywhere: bool) -> set[str]:
    """Full names of what a module imports: everywhere, or only as it is itself imported."""
    tree = ast.parse((PACKAGE / f"{module}.py").read_text(encoding="utf-8"))
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
    parts = {name.removeprefix(package).split(".")[0] for name in names if name.startswith(package)}
    return parts & set(MODULES)


@pytest.mark.parametrize("module", MODULES)
def test_imports_go_one_way(module):
    assert module in HEIGHT, f"give {module} a row in {Path(__file__).name}"
    for other in own(imported(module, everywhere=True)):
        assert HEIGHT[other] < HEIGHT[module], f"{module} must not import {other}"


@pytest.mark.skipif("cli" not in MODULES, reason="no command line yet")
def test_the_command_line_starts_without_slow_libraries():
    pending, seen = {"cli"}, set()
    while pending:
        module = pending.pop()
        seen.add(module)
        names = imported(module, everywhere=False)
        slow = {name.split(".")[0] for name in names} & SLOW
        assert not slow, f"{module}, which cli imports, imports {slow} at module level"
        pending |= own(names) - seen
