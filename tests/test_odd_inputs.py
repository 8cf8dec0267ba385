"""Unusual scans, through the weights that come with the program."""

import sys
from dataclasses import replace
from functools import cache
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from test_geometry import OBLIQUE, upscaled, world_centroid

from tdafd_cli.formats.files import read_volume
from tdafd_cli.inference.prediction import BEYOND
from tdafd_cli.inference.settings import InferenceSettings
from tdafd_cli.inference.upscaling import upscale_volume
from tdafd_cli.networks.limits import OVERSHOOT, neighbourhood_range
from tdafd_cli.sampling.degradation import degrade
from tdafd_cli.volumes.grid import downscaled_affine
from tdafd_cli.volumes.volume import Volume
from tdafd_cli.weights.file import Weights
from tdafd_cli.weights.store import load_weights

REPOSITORY = Path(__file__).parents[1]
EXAMPLE = REPOSITORY / "examples" / "head_2mm.nii.gz"
NAMES = ("tdafd-x2", "tdafd-x3", "tdafd-x4")
ONE_PASS = InferenceSettings("cpu", "fp32", ensemble=1, labels="no", consistency="none")


@cache
def trained(name: str) -> Weights:
    return load_weights(name)


@pytest.fixture
def suite(monkeypatch):
    monkeypatch.syspath_prepend(str(REPOSITORY / "studies"))
    monkeypatch.delitem(sys.modules, "odd_inputs", raising=False)
    import odd_inputs

    return odd_inputs


def volume_of(data: np.ndarray) -> Volume:
    header = nib.Nifti1Header()
    header.set_data_shape(data.shape)
    header.set_data_dtype(np.float32)
    header.set_sform(np.eye(4), code=1)
    header.set_qform(np.eye(4), code=1)
    return Volume(data.astype(np.float32), np.eye(4), header)


def smooth_field(rng: np.random.Generator) -> np.ndarray:
    coarse = torch.from_numpy(rng.normal(size=(1, 1, *rng.integers(2, 6, 3))))
    size = tuple(int(n) for n in rng.integers(17, 25, 3))
    return torch.nn.functional.interpolate(coarse, size=size, mode="trilinear")[0, 0].numpy()


def boxes(rng: np.random.Generator) -> np.ndarray:
    data = np.zeros(rng.integers(17, 25, 3))
    for _ in range(rng.integers(1, 6)):
        i, j, k = (slice(*sorted(rng.integers(0, n + 1, 2))) for n in data.shape)
        data[i, j, k] = rng.normal()
    return data + 1e-6 * rng.normal(size=data.shape)


def spikes(rng: np.random.Generator) -> np.ndarray:
    data = np.abs(rng.normal(1, 0.1, rng.integers(17, 25, 3)))
    for _ in range(rng.integers(1, 6)):
        data[tuple(rng.integers(data.shape))] = 10 ** rng.uniform(0, 5)
    return data


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", [smooth_field, boxes, spikes])
@settings(max_examples=8, derandomize=True)
@given(seed=st.integers(0, 2**32 - 1))
def test_a_result_stays_near_the_scan_around_each_voxel(kind, name, seed):
    volume, scale = volume_of(kind(np.random.default_rng(seed))), int(name[-1])
    high = upscale_volume(volume, trained(name), ONE_PASS).data
    low = torch.from_numpy(volume.data)
    rounding = 1e-6 * float(low.abs().max())  # of float32, where all but a constant is tiny
    margin = float(BEYOND * (low.max() - low.min())) * 1.001 + rounding
    assert low.min() - margin <= high.min()
    assert high.max() <= low.max() + margin
    alone = upscale_volume(volume, trained(name), replace(ONE_PASS, fallback=False)).data
    lowest, highest = (each[0, 0] for each in neighbourhood_range(low[None, None]))
    room = OVERSHOOT * (highest - lowest) + 1e-4 * margin + rounding
    for axis in range(3):
        lowest, highest, room = (x.repeat_interleave(scale, axis) for x in (lowest, highest, room))
    assert (alone >= (lowest - room).numpy()).all()
    assert (alone <= (highest + room).numpy()).all()


@pytest.mark.parametrize("kind", ["kspace", "gaussian", "average"])
@pytest.mark.parametrize("name", NAMES)
def test_a_soft_ellipsoid_keeps_its_centroid(tmp_path, name, kind):
    scale = int(name[-1])
    axes = np.meshgrid(*(np.arange(72.0),) * 3, indexing="ij")
    centre, radii = (35.3, 33.8, 36.1), (20, 23, 18)
    distance = np.sqrt(sum(((x - c) / r) ** 2 for x, c, r in zip(axes, centre, radii, strict=True)))
    low = degrade(torch.from_numpy(100 / (1 + np.exp(12 * (distance - 1)))), scale, kind)
    affine = downscaled_affine(OBLIQUE, scale)
    result = upscaled(low, affine, scale, name, tmp_path)
    moved = world_centroid(result.get_fdata(), result.affine)
    moved = moved - nib.affines.apply_affine(OBLIQUE, centre)
    assert np.abs(np.linalg.solve(affine[:3, :3], moved)).max() < 0.02


@pytest.mark.slow
def test_hot_voxels_leave_the_rest_as_it_was():
    head = read_volume(EXAMPLE)
    part = volume_of(head.data[20:60, 30:70, 30:70])
    rng, spoilt = np.random.default_rng(0), part.data.copy()
    away = np.ones(part.shape, bool)
    for _ in range(10):
        i, j, k = (int(rng.integers(2, n - 2)) for n in part.shape)
        spoilt[i, j, k] = 1000 * np.ptp(part.data)
        away[i - 2 : i + 3, j - 2 : j + 3, k - 2 : k + 3] = False
    settings = InferenceSettings("cpu", "fp32", ensemble=1, consistency="none")
    clean, mended = (
        upscale_volume(volume_of(data), trained("tdafd-x2"), settings).data
        for data in (part.data, spoilt)
    )
    mask = away.repeat(2, 0).repeat(2, 1).repeat(2, 2)
    error = np.sqrt(np.mean((clean - mended)[mask] ** 2)) / np.ptp(part.data)
    assert error < 10 ** (-50 / 20)
    assert mended.max() < 1.001 * spoilt.max()


@pytest.mark.parametrize(
    ("kind", "least_gain"),
    [
        ("soft ellipsoid", -0.1),
        ("smoothed by 2 voxels", -0.1),
        ("smoothed by 4 voxels", -0.1),
        ("binary mask", 0.5),
        ("labels", 0.5),
        ("cubed", 0.2),
        ("inverted", 0.3),
        ("16 grey levels", 0.3),
        ("hot voxels", -0.1),
        ("dropped slices", -0.1),
        ("noise alone", -0.1),
    ],
)
def test_odd_inputs_do_not_fall_below_interpolation(suite, kind, least_gain):
    volume = suite.box(read_volume(EXAMPLE), 64)
    validated = suite.judged(volume, kind, "average", 2)
    low = validated.case.low_volume()
    estimate = upscale_volume(low, trained("tdafd-x2"), InferenceSettings("cpu", "fp32")).data
    gain, beyond = suite.judgement(validated, estimate)
    assert gain > least_gain
    if kind != "hot voxels":
        assert beyond < 0.25


@pytest.mark.parametrize("name", NAMES)
def test_a_truncated_mask_stays_near_its_levels(name):
    scale = trained(name).scale
    n = 24 * scale
    mask = torch.zeros(n, n, n)
    inside = slice(n // 4 + 1, n - n // 4)
    mask[inside, inside, inside] = 1
    low = degrade(mask, scale, "kspace").numpy()
    assert low.max() > 1.15  # in the corners, where three axes ring at once
    high = upscale_volume(volume_of(low), trained(name), ONE_PASS).data
    assert -0.1 <= high.min() <= high.max() <= 1.12
