"""What the package imports, pyproject.toml declares, and constraints.txt pins."""

import ast
import re
import sys
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

REPOSITORY = Path(__file__).parents[1]
PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
CONSTRAINTS = (REPOSITORY / "constraints.txt").read_text(encoding="utf-8").splitlines()


def name_of(requirement: str) -> str:
    """Normalised name of a distribution, as PEP 503 has it."""
    return re.sub(r"[-_.]+", "-", re.match(r"[\w.-]+", requirement)[0]).lower()


def imported() -> set[str]:
    """Top-level names of the modules that the package imports anywhere."""
    names = set()
    for path in (REPOSITORY / "tdafd_cli").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                names.update(alias.name.split(".")[0] for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                names.add(str(node.module).split(".")[0])
    return names - sys.stdlib_module_names - {"tdafd_cli", "tomli"}


EXTRAS = [
    requirement
    for requirements in PROJECT["optional-dependencies"].values()
    for requirement in requirements
]


def test_every_library_imported_is_declared():
    distributions = packages_distributions()
    declared = {name_of(requirement) for requirement in [*PROJECT["dependencies"], *EXTRAS]}
    for module in imported():
        # An extra that is not installed is taken to have the name of its module.
        candidates = {name_of(name) for name in distributions.get(module, [module])}
        assert candidates & declared, f"{module} is imported, but not declared"


@pytest.mark.parametrize("requirement", [*PROJECT["dependencies"], *EXTRAS])
def test_every_library_declared_is_pinned(requirement):
    if "python_version <" in requirement:
        pytest.skip("not of the Python that the pins are for")
    assert name_of(requirement) in {name_of(line) for line in CONSTRAINTS if line[:1].isalpha()}
