import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tdafd_cli.errors import DeviceError, MemoryLimitError
from tdafd_cli.formats.files import read_volume
from tdafd_cli.inference.budget import memory_needed
from tdafd_cli.inference.ensemble import DEFAULT_PASSES
from tdafd_cli.inference.prediction import PRECISION_TOLERANCE, PROBE_EDGE, predict_volume
from tdafd_cli.inference.settings import InferenceSettings
from tdafd_cli.machine.devices import computes_bf16
from tdafd_cli.networks.tdafd import TDAFD, TDAFDConfig
from tdafd_cli.sampling.degradation import degrade
from tdafd_cli.volumes.intensity import intensity_range, normalise
from tdafd_cli.weights.store import bundled_names, load_weights

REPOSITORY = Path(__file__).parents[2]
ONE_PASS = {"device": "cpu", "ensemble": 1, "consistency": "none", "fallback": False}
EXACT = InferenceSettings(precision="fp32", **ONE_PASS)
REDUCED = InferenceSettings(precision="bf16", **ONE_PASS)


def smooth_volume(*shape: int) -> torch.Tensor:
    noise = torch.rand(shape, generator=torch.Generator().manual_seed(0))
    return torch.nn.functional.avg_pool3d(noise[None], 5, stride=1, padding=2)[0]


def whole(network: TDAFD, low: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        return network(low[None, None])[0, 0]


class WrongWhenReduced(TDAFD):
    """Adds an error in reduced precision, to volumes of more than so many voxels."""

    error, from_voxels = 0.0, 0

    def forward(self, low, falloff):
        wrong = torch.is_autocast_enabled(low.device.type) and low[0].numel() > self.from_voxels
        return super().forward(low, falloff) + (self.error if wrong else 0)


class Hungry(TDAFD):
    """Runs out of memory when given more than so many voxels at once."""

    most_voxels = 0

    def forward(self, low, falloff):
        if low.numel() > self.most_voxels:
            raise torch.OutOfMemoryError("out of memory")
        return super().forward(low, falloff)


def as_kind(network: TDAFD, kind: type[TDAFD], **attributes: float) -> TDAFD:
    other = kind(network.config)
    other.load_state_dict(network.state_dict())
    for name, value in attributes.items():
        setattr(other, name, value)
    return other


def test_one_tile_is_what_the_network_says_of_the_whole(tiny_network):
    low = smooth_volume(20, 13, 9)
    high, execution = predict_volume(tiny_network, low, EXACT)
    torch.testing.assert_close(high, whole(tiny_network, low))
    assert (execution.tiles, execution.notes) == (1, ())


def test_many_tiles_differ_little_from_the_whole(tiny_network):
    low = smooth_volume(70, 21, 9)
    settings = replace(EXACT, tile=40, overlap=16)
    high, execution = predict_volume(tiny_network, low, settings)
    expected = whole(tiny_network, low)
    assert execution.tiles > 1
    assert (high - expected).abs().max() < 1e-3 * (expected.max() - expected.min())


@pytest.mark.parametrize("name", bundled_names())
def test_trained_weights_at_the_default_overlap_differ_from_the_whole_by_a_thousandth(name):
    head = read_volume(REPOSITORY / "examples" / "head_2mm.nii.gz").data
    low = torch.from_numpy(normalise(head, intensity_range(head)))[:, 36:68, 36:68]
    network = load_weights(name).network()
    settings = replace(EXACT, tile=64)
    high, execution = predict_volume(network, low, settings)
    assert execution.tiles > 1
    assert (high - whole(network, low)).abs().max() < 1e-3


def test_passes_over_mirror_images_are_averaged(tiny_network):
    low = smooth_volume(*(tiny_network.grid * n for n in (2, 1, 3)))
    high, execution = predict_volume(tiny_network, low, replace(EXACT, ensemble="auto"))
    mirrored = whole(tiny_network, low.flip(0, 1, 2)).flip(0, 1, 2)
    torch.testing.assert_close(high, (whole(tiny_network, low) + mirrored) / 2)
    assert (execution.ensemble, DEFAULT_PASSES[tiny_network.config.scale]) == (2, 2)


def test_truncated_scan_keeps_its_measured_frequencies(tiny_network):
    low = degrade(smooth_volume(40, 26, 18), 2, "kspace")
    high, execution = predict_volume(tiny_network, low, replace(EXACT, consistency="kspace"))
    assert execution.consistency == "kspace"
    plain = degrade(whole(tiny_network, low), 2, "kspace")
    error = (degrade(high, 2, "kspace") - low).abs().max()
    assert error < 0.02 * (plain - low).abs().max()


def test_scan_of_another_kind_is_left_to_the_network(tiny_network):
    low = degrade(smooth_volume(40, 26, 18), 2, "average")
    high, execution = predict_volume(tiny_network, low, replace(EXACT, consistency="auto"))
    assert execution.consistency == "none"
    torch.testing.assert_close(high, whole(tiny_network, low))


def test_consistency_asked_for_is_not_questioned(tiny_network):
    low = degrade(smooth_volume(40, 26, 18), 2, "average")
    high, execution = predict_volume(tiny_network, low, replace(EXACT, consistency="average"))
    assert execution.consistency == "average"
    assert (degrade(high, 2, "average") - low).abs().max() < 0.005


def test_execution_tells_what_was_done(tiny_network):
    settings = replace(REDUCED, tile=35, overlap=10, batch_size=2, threads=1)
    calls: list[tuple[int, int]] = []
    _, execution = predict_volume(
        tiny_network, smooth_volume(60, 33, 9), settings, lambda *call: calls.append(call)
    )
    grid = tiny_network.grid
    assert (execution.device, execution.precision) == ("cpu", "bf16")
    assert all(edge % grid == 0 and edge <= 35 for edge in execution.tile)
    assert (execution.overlap, execution.batch_size) == (10, 2)
    assert calls[-1] == (execution.tiles, execution.tiles)


def test_tile_that_the_overlap_leaves_no_room_for_grows_to_the_smallest_that_works(tiny_network):
    settings = replace(EXACT, tile=17, overlap=16)
    _, execution = predict_volume(tiny_network, smooth_volume(40, 9, 9), settings)
    assert execution.tile[0] == 16 + tiny_network.grid


def test_reduced_precision_is_close_to_fp32_and_not_equal(tiny_network):
    low = smooth_volume(20, 13, 9)
    exact, _ = predict_volume(tiny_network, low, EXACT)
    reduced, execution = predict_volume(tiny_network, low, REDUCED)
    assert execution.precision == "bf16"
    assert 0 < (reduced - exact).abs().max() < PRECISION_TOLERANCE


@pytest.mark.parametrize("error", [2 * PRECISION_TOLERANCE, torch.nan, torch.inf])
def test_reduced_precision_that_errs_gives_way_to_fp32(tiny_network, error):
    low = smooth_volume(20, 13, 9)
    network = as_kind(tiny_network, WrongWhenReduced, error=error)
    high, execution = predict_volume(network, low, REDUCED)
    torch.testing.assert_close(high, whole(tiny_network, low))
    assert execution.precision == "fp32"
    assert len(execution.notes) == 1
    assert execution.notes[0].startswith("bf16 differed from fp32 by ")


def test_reduced_precision_that_overflows_later_gives_way_to_fp32(tiny_network):
    low = smooth_volume(PROBE_EDGE + 1, PROBE_EDGE, PROBE_EDGE)
    network = as_kind(tiny_network, WrongWhenReduced, error=torch.inf, from_voxels=PROBE_EDGE**3)
    high, execution = predict_volume(network, low, REDUCED)
    torch.testing.assert_close(high, whole(tiny_network, low))
    assert execution.notes == ("bf16 overflowed: fp32 was used",)


def test_smaller_tiles_are_tried_when_memory_runs_out(tiny_network):
    low = smooth_volume(64, 32, 16)
    network = as_kind(tiny_network, Hungry, most_voxels=32 * 32 * 16)
    settings = replace(EXACT, overlap=8)
    high, execution = predict_volume(network, low, settings)
    expected = whole(tiny_network, low)
    assert execution.tiles > 1
    assert "no memory for tiles of 64 x 32 x 16: smaller ones were used" in execution.notes
    assert (high - expected).abs().max() < 0.01


def test_running_out_of_memory_for_the_smallest_tile_is_told(tiny_network):
    network = as_kind(tiny_network, Hungry, most_voxels=0)
    with pytest.raises(MemoryLimitError, match=r"tiles of \d+ x \d+ x \d+ voxels need about"):
        predict_volume(network, smooth_volume(30, 30, 30), EXACT)


def test_other_failures_of_the_network_are_not_taken_for_lack_of_memory(tiny_network):
    class Broken(TDAFD):
        def forward(self, low, falloff):
            raise RuntimeError("broken")

    with pytest.raises(RuntimeError, match=r"^broken$"):
        predict_volume(as_kind(tiny_network, Broken), smooth_volume(9, 9, 9), EXACT)


def test_volume_beyond_the_memory_is_refused_before_any_computing(tiny_network):
    huge = torch.zeros(1).expand(10**4, 10**4, 10**4)  # takes one number, its result 32 TB
    with pytest.raises(MemoryLimitError, match="beside the result 0 GB are free") as caught:
        predict_volume(tiny_network, huge, EXACT)
    assert "\n" not in str(caught.value)


def test_tile_beyond_the_memory_is_refused_with_advice(tiny_network):
    huge = torch.zeros(1).expand(10**4, 10**4, 10**4)
    settings = replace(EXACT, tile=9000)
    with pytest.raises(MemoryLimitError, match="set the tile to auto or lower it"):
        predict_volume(tiny_network, huge, settings)


def test_device_that_is_not_there_is_refused(tiny_network):
    settings = InferenceSettings(device="cuda:99")
    with pytest.raises(DeviceError, match=r"^cuda:99: "):
        predict_volume(tiny_network, smooth_volume(9, 9, 9), settings)


@pytest.mark.parametrize(
    "wrong",
    [
        {"precision": "fp64"},
        {"tile": "large"},
        {"tile": 16, "overlap": 16},
        {"overlap": -1},
        {"batch_size": 0},
        {"threads": 0},
        {"ensemble": 3},
        {"consistency": "sinc"},
    ],
)
def test_settings_that_cannot_be_are_refused(wrong):
    with pytest.raises(ValueError, match="must"):
        InferenceSettings(**wrong)


PEAK = """
import sys, torch
from tdafd_cli.machine.memory import freed_memory_kept, peak_memory
from tdafd_cli.networks.tdafd import TDAFD, TDAFDConfig
edge, dtype, modules = int(sys.argv[1]), getattr(torch, sys.argv[2]), int(sys.argv[3])
network = TDAFD(TDAFDConfig(modules=modules)).eval().to(memory_format=torch.channels_last_3d)
def run(edge):
    reduced = dtype != torch.float32
    with torch.inference_mode(), torch.autocast("cpu", dtype if reduced else None, enabled=reduced):
        network(torch.rand(1, 1, edge, edge, edge))
run(16)
before = peak_memory(torch.device("cpu"))
with freed_memory_kept():
    run(edge)
print(peak_memory(torch.device("cpu")) - before)
"""


needs_bf16 = pytest.mark.skipif(
    not computes_bf16(torch.device("cpu")),
    reason="this CPU has no bf16 instructions, and emulating them is slow and takes more memory",
)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="relies on glibc's allocator")
@pytest.mark.parametrize(
    ("dtype", "modules"), [("float32", 4), pytest.param("bfloat16", 6, marks=needs_bf16)]
)
def test_memory_of_a_tile_is_estimated_from_above_and_not_by_far(dtype, modules):
    edge = 48
    run = subprocess.run(
        [sys.executable, "-c", PEAK, str(edge), dtype, str(modules)],
        capture_output=True,
        check=True,
        text=True,
    )
    config = TDAFDConfig(modules=modules)
    assert 0.4 < int(run.stdout) / memory_needed(config, edge**3, getattr(torch, dtype)) < 1
