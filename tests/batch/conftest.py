"""Fixtures of the tests on many volumes."""

from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from typer.testing import CliRunner, Result

from tdafd_cli.cli import app

FAST = ("--device", "cpu", "--precision", "fp32", "--ensemble", "1", "--threads", "1")


@pytest.fixture
def scan() -> Callable[..., Path]:
    """Function that writes a tiny scan, other numbers for another seed, and makes its folder."""

    def write(path: Path, seed: int = 0, shape: tuple[int, ...] = (9, 8, 7)) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        stored = np.random.default_rng(seed).integers(0, 900, shape, dtype=np.int16)
        nib.save(nib.Nifti1Image(stored, np.diag([2.0, 2.0, 2.0, 1.0])), path)
        return path

    return write


@pytest.fixture
def raw(tmp_path: Path, scan: Callable[..., Path]) -> Path:
    """Folder with three scans, one of them deeper."""
    for seed, name in enumerate(("a.nii.gz", "b.nii", "deep/c.nii.gz")):
        scan(tmp_path / "raw" / name, seed)
    return tmp_path / "raw"


@pytest.fixture
def upscaled(tmp_path: Path) -> Path:
    """Folder for results, not made yet."""
    return tmp_path / "upscaled"


@pytest.fixture
def run(tiny_weights: Path) -> Callable[..., Result]:
    """Function that runs ``tdafd upscale`` with tiny weights."""

    def invoke(*arguments: object, names: str | None = None) -> Result:
        words = ["upscale", "--weights", str(tiny_weights), *FAST, *map(str, arguments)]
        return CliRunner().invoke(app, words, input=names, catch_exceptions=False)

    return invoke
