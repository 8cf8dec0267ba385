"""What the weights that come with the program must do on the example volume."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tdafd_cli.evaluation.case import degraded, reference
from tdafd_cli.evaluation.validation import estimated, validation_cases, validation_rows
from tdafd_cli.formats.files import read_volume
from tdafd_cli.inference.prediction import predict_volume
from tdafd_cli.inference.settings import InferenceSettings
from tdafd_cli.sampling.degradation import BENCHMARK_DEGRADATIONS
from tdafd_cli.volumes.intensity import intensity_range, normalise
from tdafd_cli.weights.store import bundled_names, load_weights

EXAMPLE = Path(__file__).parents[1] / "examples" / "head_2mm.nii.gz"
NAMES = bundled_names()


def test_there_are_weights_for_every_scale():
    assert set(NAMES) >= {"tdafd-x2", "tdafd-x3", "tdafd-x4"}


@pytest.mark.parametrize("name", NAMES)
def test_weights_tell_where_they_come_from(name):
    metadata = load_weights(name).metadata
    assert {"training_data", "degradation", "licence", "seed", "recipe", "scores"} <= set(metadata)
    assert metadata["scale"] == int(name[-1])


@pytest.mark.parametrize("name", NAMES)
def test_weights_beat_interpolation_on_every_degradation(name):
    weights = load_weights(name)
    network = weights.network()
    cases = list(validation_cases([EXAMPLE], weights.factors))
    rows = validation_rows(cases, lambda case: estimated(network, case, InferenceSettings("cpu")))
    for row in rows:
        assert row["gain"] > 0.1, row
        assert row["ssim_foreground"] > row["baseline_ssim_foreground"], row


@pytest.mark.parametrize("name", ["tdafd-x2", "tdafd-x3"])  # at x4 20 voxels are too few to tell
def test_truncated_scans_are_known_as_such_and_others_are_not(name):
    weights = load_weights(name)
    network = weights.network()
    judged = reference("example", read_volume(EXAMPLE), weights.scale)
    for kind in BENCHMARK_DEGRADATIONS:
        low = degraded(judged, kind).low
        _, execution = predict_volume(network, low, InferenceSettings("cpu"))
        assert execution.consistency == ("kspace" if kind == "kspace" else "none")


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_tiles_leave_no_trace_in_a_real_head(name):
    low = read_volume(EXAMPLE).data
    low = torch.from_numpy(normalise(low, intensity_range(low)))
    network = load_weights(name).network()
    settings = InferenceSettings("cpu", "fp32", tile=112, ensemble=1)
    whole, one = predict_volume(network, low, settings)
    tiled, several = predict_volume(network, low, replace(settings, tile=96))
    assert (one.tiles, several.tiles) == (1, 4)
    assert float((tiled - whole).abs().max()) < 1e-3
