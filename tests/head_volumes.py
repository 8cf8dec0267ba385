"""A folder of two small heads, and a program that upscales, for benchmarks of both kinds."""

import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

REPEAT = """
import sys
import nibabel, numpy
image = nibabel.load(sys.argv[1])
data = image.get_fdata()
for axis in range(3):
    data = data.repeat(int(sys.argv[3]), axis)
nibabel.save(nibabel.Nifti1Image(data.astype("float32"), image.affine), sys.argv[2])
"""


def head(seed=0, shape=(26, 24, 21)):
    axes = np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij")
    radius = np.sqrt(sum(x**2 for x in axes))
    texture = np.random.default_rng(seed).normal(0, 4, shape)
    return ((np.cos(9 * radius) + 1.5) * 100 + texture) * (radius < 0.8)


@pytest.fixture
def heads(tmp_path) -> Path:
    place = tmp_path / "volumes"
    place.mkdir()
    for seed in range(2):
        image = nib.Nifti1Image(head(seed).astype(np.float32), np.diag([1, 1.2, 1.5, 1]))
        nib.save(image, place / f"head{seed}.nii.gz")
    return place


@pytest.fixture
def repeat(tmp_path) -> str:
    script = tmp_path / "repeat.py"
    script.write_text(REPEAT)
    return f"'{sys.executable}' '{script}' {{input}} {{output}} {{scale}}"
