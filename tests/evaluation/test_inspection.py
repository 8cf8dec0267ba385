import numpy as np
import pytest

from tdafd_cli.evaluation.inspection import inspect_volume
from tdafd_cli.formats.files import read_volume
from tdafd_cli.inference.settings import InferenceSettings
from tdafd_cli.inference.upscaling import upscale_source
from tdafd_cli.weights.file import read_weights

SETTINGS = InferenceSettings(device="cpu", precision="fp32", ensemble=2, consistency="none")


@pytest.fixture
def weights(tiny_weights):
    return read_weights(tiny_weights)


def smooth_ball(edge=24):
    axis = np.linspace(-1, 1, edge)
    radius = np.linalg.norm(np.meshgrid(axis, axis, axis), axis=0)
    return (1000 / (1 + np.exp(12 * (radius - 0.6)))).astype(np.float32)


def labels():
    stored = np.zeros((20, 18, 17), np.int16)
    stored[3:15, 4:11, 2:13], stored[6:12, 5:9, 4:8] = 41, 17
    return stored


def noise():
    return np.random.default_rng(0).integers(0, 900, (9, 8, 7), dtype=np.int16)


@pytest.mark.parametrize("made", [noise, smooth_ball, labels])
def test_what_is_foretold_is_what_upscaling_does(make_nifti, weights, made):
    path = make_nifti(made(), np.eye(4))
    foretold = inspect_volume(read_volume(path), weights, SETTINGS)
    result = upscale_source(path, weights=weights, settings=SETTINGS).details
    assert foretold.findings == result.warnings
    assert foretold.output_shape == result.output_shape
    assert foretold.output_voxel_size == pytest.approx(result.output_voxel_size)
    assert foretold.network_share == result.execution.network_share
    for name in ("device", "precision", "tile", "tiles", "ensemble"):
        assert getattr(foretold.execution, name) == getattr(result.execution, name)


def test_what_a_scan_truly_holds_is_told_in_millimetres(make_nifti, weights):
    path = make_nifti(smooth_ball(), np.diag([-1.0, 1.0, 1.0, 1.0]))
    found = inspect_volume(read_volume(path), weights, SETTINGS)
    assert min(found.resolution_mm) > 1.3
    assert (found.method, found.orientation, found.oblique_degrees) == ("interpolation", "LAS", 0)
    unsmoothed = make_nifti(noise(), np.diag([1.0, 1.5, 2.0, 1.0]))
    assert inspect_volume(read_volume(unsmoothed), weights, SETTINGS).resolution_mm == (1, 1.5, 2)


def test_geometry_and_storage_are_told(make_nifti, weights, oblique_affine):
    path = make_nifti(noise(), oblique_affine, codes=(1, 2), scaling=(0.5, -10.0))
    found = inspect_volume(read_volume(path), weights, SETTINGS)
    assert found.codes == (1, 2)
    assert found.stored == "int16"
    assert (found.slope, found.intercept) == (0.5, -10)
    assert found.intensities[0] == pytest.approx(noise().min() / 2 - 10)
    assert found.field_mm == pytest.approx((9 * 0.5, 8 * 0.8, 7 * 3.0), rel=1e-6)
    assert 10 < found.oblique_degrees < 60
    assert found.seconds >= 0
    assert 0 < found.memory_bytes < found.free_memory_bytes


def test_label_maps_are_repeated(make_nifti, weights):
    found = inspect_volume(read_volume(make_nifti(labels(), np.eye(4))), weights, SETTINGS)
    assert found.method == "labels"
    assert [each.code for each in found.findings] == ["labels"]
