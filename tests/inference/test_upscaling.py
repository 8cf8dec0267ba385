import hashlib
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tdafd_cli import __version__
from tdafd_cli.errors import DeviceError, OutputError, VolumeError
from tdafd_cli.formats.files import read_volume
from tdafd_cli.inference.files import upscale_file
from tdafd_cli.inference.settings import InferenceSettings
from tdafd_cli.inference.upscaling import (
    network_on,
    upscale_source,
    upscale_volume,
)
from tdafd_cli.networks.tdafd import TDAFD
from tdafd_cli.volumes.grid import upscaled_affine
from tdafd_cli.volumes.volume import Volume
from tdafd_cli.weights.file import Weights
from tdafd_cli.weights.store import load_weights

EXACT = InferenceSettings(
    device="cpu", precision="fp32", ensemble=1, consistency="none", fallback=False
)
CPU = torch.device("cpu")


def smooth(*shape: int) -> np.ndarray:
    noise = torch.rand(shape, generator=torch.Generator().manual_seed(0))
    return torch.nn.functional.avg_pool3d(noise[None], 5, stride=1, padding=2)[0].numpy()


@pytest.fixture
def weights(tiny_weights: Path) -> Weights:
    return load_weights(tiny_weights)


@pytest.fixture
def source(make_nifti, oblique_affine) -> Path:
    stored = np.rint(1000 * smooth(12, 10, 7)).astype(np.int16)
    return make_nifti(stored, oblique_affine, name="low.nii.gz", codes=(1, 2))


@pytest.fixture
def volume(source: Path) -> Volume:
    return read_volume(source)


def test_result_has_twice_the_voxels_over_the_same_field_of_view(volume, weights):
    high = upscale_volume(volume, weights, EXACT)
    assert high.shape == (24, 20, 14)
    np.testing.assert_allclose(high.affine, upscaled_affine(volume.affine, 2))
    low_corner, high_corner = (v.affine @ [*(np.array(v.shape) - 0.5), 1] for v in (volume, high))
    np.testing.assert_allclose(high_corner, low_corner)


def test_result_keeps_the_header_and_the_input(volume, weights):
    before = volume.data.copy()
    high = upscale_volume(volume, weights, EXACT)
    assert high.stored_dtype == np.int16
    assert (int(high.header["qform_code"]), int(high.header["sform_code"])) == (1, 2)
    assert np.array_equal(volume.data, before)


def test_a_network_that_adds_nothing_interpolates_the_intensities(volume, weights):
    silent = {name: 0 * value for name, value in weights.state.items() if "tail" in name}
    high = upscale_volume(volume, replace(weights, state={**weights.state, **silent}), EXACT)
    means = high.data.reshape(12, 2, 10, 2, 7, 2).mean(axis=(1, 3, 5))
    assert abs(high.data.mean() / volume.data.mean() - 1) < 0.01
    assert np.corrcoef(means.ravel(), volume.data.ravel())[0, 1] > 0.98


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(factor=st.floats(1e-3, 1e3), offset=st.floats(-10, 10))
def test_units_of_the_intensities_do_not_matter(volume, weights, factor, offset):
    spread = float(np.ptp(volume.data))
    centred = replace(volume, data=volume.data - spread)  # negative, so that nothing is clipped
    other = replace(volume, data=(factor * (centred.data + offset * spread)).astype(np.float32))
    expected = factor * (upscale_volume(centred, weights, EXACT).data + offset * spread)
    result = upscale_volume(other, weights, EXACT).data
    if other.data.min() >= 0:
        expected = np.maximum(expected, 0)
    np.testing.assert_allclose(result, expected, atol=1e-3 * factor * spread)


def test_intensities_become_negative_only_where_the_input_has_negative_ones(volume, weights):
    flat = {"tail.bias": weights.state["tail.bias"] - 0.5}  # half of the range too dark
    darkening = replace(weights, state={**weights.state, **flat})
    assert upscale_volume(volume, darkening, EXACT).data.min() == 0
    shifted = replace(volume, data=volume.data - np.float32(1 + volume.data.min()))
    assert upscale_volume(shifted, darkening, EXACT).data.min() < -1


def test_small_contrast_on_a_high_level_survives_in_float64(volume, weights):
    data = 1e9 + volume.data.astype(np.float64)
    high = upscale_volume(replace(volume, data=data), weights, EXACT)
    expected = upscale_volume(volume, weights, EXACT)
    assert high.data.dtype == np.float64
    np.testing.assert_allclose(high.data - 1e9, expected.data, atol=0.1)


def test_report_tells_what_was_done(source, tiny_weights, weights, tmp_path):
    target = tmp_path / "high.nii"
    result = upscale_file(source, target, weights=weights, settings=EXACT, dtype="float32")
    report = result.details
    low, high = read_volume(source), read_volume(target)
    assert (report.source, report.target) == (str(source), str(target))
    assert (report.input_shape, report.output_shape) == (low.shape, high.shape)
    assert report.scale == 2
    np.testing.assert_allclose(report.input_voxel_size, [0.5, 0.8, 3], rtol=1e-6)
    np.testing.assert_allclose(report.output_voxel_size, [0.25, 0.4, 1.5], rtol=1e-6)
    assert report.weights == "tiny"
    assert report.weights_sha256 == hashlib.sha256(tiny_weights.read_bytes()).hexdigest()
    assert report.version == __version__
    assert report.peak_memory_bytes > high.data.nbytes
    steps = [report.seconds[name] for name in ("read", "network", "write")]
    assert min(steps) >= 0
    assert report.seconds["total"] == pytest.approx(sum(steps), abs=0.002)


def test_report_as_plain_values_holds_the_execution_among_the_others(source, weights, tmp_path):
    report = upscale_file(source, tmp_path / "high.nii", weights=weights, settings=EXACT).details
    plain = report.to_dict()
    assert plain["device"] == report.execution.device == "cpu"
    assert plain["tile"] == report.execution.tile
    assert "execution" not in plain


def test_file_holds_the_upscaled_volume(source, volume, weights, tmp_path):
    target = tmp_path / "high.nii.gz"
    upscale_file(source, target, weights=weights, settings=EXACT)
    high, expected = read_volume(target), upscale_volume(volume, weights, EXACT)
    assert high.stored_dtype == np.int16
    np.testing.assert_allclose(high.affine, expected.affine, atol=1e-4)
    np.testing.assert_allclose(high.data, expected.data, atol=0.51)


def test_existing_target_is_refused_before_anything_is_read(weights, tmp_path):
    target = tmp_path / "high.nii"
    target.write_bytes(b"precious")
    with pytest.raises(OutputError, match="exists"):
        upscale_file(tmp_path / "none.nii", target, weights=weights, settings=EXACT)
    assert target.read_bytes() == b"precious"


def test_missing_device_is_told_before_anything_is_read(weights, tmp_path):
    settings = InferenceSettings(device="cuda:99")
    with pytest.raises(DeviceError, match="cuda:99"):
        upscale_file(
            tmp_path / "none.nii", tmp_path / "high.nii", weights=weights, settings=settings
        )


def test_unreadable_input_leaves_no_file(weights, tmp_path):
    source = tmp_path / "text.nii"
    source.write_text("no volume")
    with pytest.raises(VolumeError):
        upscale_file(source, tmp_path / "high.nii", weights=weights, settings=EXACT)
    assert list(tmp_path.iterdir()) == [source]


@dataclass(frozen=True, eq=False)
class CountedWeights(Weights):
    """Weights that note how often a network is built of them."""

    built: list[int] = field(default_factory=list)

    def network(self) -> TDAFD:
        self.built.append(1)
        return super().network()


def test_the_network_is_built_once_for_many_volumes(volume, source, weights, tmp_path):
    counted = CountedWeights(**vars(weights))
    for _ in range(2):
        upscale_volume(volume, counted, EXACT)
    upscale_file(source, tmp_path / "high.nii", weights=counted, settings=EXACT)
    assert len(counted.built) == 1


def test_other_weights_of_the_same_name_get_their_own_network(volume, weights):
    other = replace(weights, state={name: 2 * value for name, value in weights.state.items()})
    assert network_on(other, CPU) is not network_on(weights, CPU)
    assert network_on(weights, CPU) is network_on(weights, CPU)
    assert not np.array_equal(
        upscale_volume(volume, other, EXACT).data, upscale_volume(volume, weights, EXACT).data
    )


def test_no_volume_leaves_a_trace_in_the_network(volume, weights):
    expected = upscale_volume(volume, weights, EXACT).data
    settings = (
        replace(EXACT, precision="bf16"),
        replace(EXACT, tile=16, overlap=4, batch_size=2, threads=1),
        replace(EXACT, fallback=True, consistency="kspace", ensemble=4),
    )
    for each in settings:
        upscale_volume(replace(volume, data=volume.data[:9] + np.float64(50)), weights, each)
    state = network_on(weights, CPU).state_dict()
    assert all(torch.equal(state[name], value) for name, value in weights.state.items())
    assert not network_on(weights, CPU).training
    assert np.array_equal(upscale_volume(volume, weights, EXACT).data, expected)


def test_nothing_is_written_unless_it_is_saved(source, weights):
    before = sorted(source.parent.iterdir())
    details = upscale_source(source, weights=weights, settings=EXACT).details
    assert (details.target, details.preview, details.seconds["write"]) == (None, None, 0)
    assert sorted(source.parent.iterdir()) == before


def test_what_is_neither_path_nor_image_breaks_the_contract(weights):
    with pytest.raises(TypeError, match="expected a path or a nibabel image, got ndarray"):
        upscale_source(np.zeros((3, 3, 3)), weights=weights)


def test_an_impossible_type_is_refused_before_the_source_is_read(weights):
    with pytest.raises(ValueError, match="dtype must be one of"):
        upscale_source("none.nii", weights=weights, dtype="complex64")
