"""Volumes and affines that more than one test module draws at random."""

import itertools

import numpy as np
from hypothesis import strategies as st

from tdafd_cli.volumes.grid import regridded, upscaled_affine
from tdafd_cli.volumes.volume import Volume

STORED = ("int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64")
STORED += ("float32", "float64")
SCALES = st.sampled_from([2, 3, 4])


@st.composite
def affines(draw: st.DrawFn) -> np.ndarray:
    """Any rotation, reflections, voxel sizes from 0.2 to 8 mm, origins up to half a metre."""
    seed = draw(st.integers(0, 2**32 - 1))
    rng = np.random.default_rng(seed)
    rotation, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    affine = np.eye(4)
    affine[:3, :3] = rotation * rng.choice([-1, 1], 3) * rng.uniform(0.2, 8, 3)
    affine[:3, 3] = rng.uniform(-500, 500, 3)
    return affine


def random_stored(dtype: str, shape: tuple[int, ...] = (5, 4, 3), seed: int = 0) -> np.ndarray:
    """Numbers over the whole range of a type, its extremes among them."""
    rng = np.random.default_rng(seed)
    if np.dtype(dtype).kind == "f":
        return rng.normal(scale=1000, size=shape).astype(dtype)
    limits = np.iinfo(dtype)
    stored = rng.integers(limits.min, limits.max, shape, dtype, endpoint=True)
    stored.flat[:2] = limits.min, limits.max
    return stored


def outer_corners(affine: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """World coordinates of the 8 corners of the field of view, (8, 3)."""
    ends = [(-0.5, length - 0.5) for length in shape]
    return np.array([affine @ (*index, 1) for index in itertools.product(*ends)])[:, :3]


def upscaled(volume: Volume, scale: int = 2) -> Volume:
    """Volume with each voxel repeated along each axis."""
    data = volume.data
    for axis in range(3):
        data = data.repeat(scale, axis)
    return regridded(volume, data, upscaled_affine(volume.affine, scale))
