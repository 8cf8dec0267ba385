import csv
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tdafd_cli.errors import DataError
from tdafd_cli.networks.tdafd import TDAFD, TDAFDConfig
from tdafd_cli.sampling.degradation import SliceSettings
from tdafd_cli.sampling.spectrum import spectral_falloff
from tdafd_cli.training.checkpoint import read_checkpoint, write_checkpoint
from tdafd_cli.training.dataset import Batch, DatasetSettings
from tdafd_cli.training.loop import take_step, target_of, train
from tdafd_cli.training.settings import TrainingConfig
from tdafd_cli.training.state import (
    CHECKPOINT,
    averaged,
    initialise,
    load_state,
    new_state,
    save_state,
)
from tdafd_cli.training.volumes import TrainingVolume
from tdafd_cli.weights.file import save_weights
from tdafd_cli.weights.store import load_weights

CPU = torch.device("cpu")
TINY = TDAFDConfig(channels=8, modules=2, attention_channels=4, token_channels=8)
CONFIG = TrainingConfig(
    network=TINY,
    dataset=DatasetSettings(patch=16, batch=2, pool=2, steps_per_pair=2),
    steps=6,
    warmup_steps=2,
    validate_every=100,
)


def volumes():
    generator = torch.Generator().manual_seed(0)
    smooth = torch.nn.functional.avg_pool3d(
        torch.rand((1, 1, 48, 48, 48), generator=generator), 3, stride=1, padding=1
    )
    return [TrainingVolume(smooth[0, 0], (1.0, 1.0, 1.0), 1.0, (0.0,))]


def run(folder, config=CONFIG, state=None, **options):
    folder.mkdir(exist_ok=True)
    state = state or new_state(config, CPU)
    train(state, volumes(), [], folder, config=config, device=CPU, **options)
    return state


def rows(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("optimiser", ["muon", "adamw"])
def test_a_tiny_network_overfits_one_patch(optimiser):
    config = replace(CONFIG, steps=60, optimiser=optimiser, learning_rate=1e-2)
    state = new_state(config, CPU)
    high = volumes()[0].data[None, None, :32, :32, :32]
    low = torch.nn.functional.avg_pool3d(high, 2)
    batch = Batch(low, 2 * high, spectral_falloff(low))
    losses = [take_step(state, batch, config, torch.float32) for _ in range(config.steps)]
    assert np.mean(losses[-5:]) < 0.2 * losses[0]


def test_a_teacher_sets_the_target_of_ordinary_pairs_alone(tiny_network):
    high = volumes()[0].data[None, None, :32, :32, :32].repeat(2, 1, 1, 1, 1)
    low = torch.nn.functional.avg_pool3d(high, 2)
    batch = Batch(low, high, spectral_falloff(low), torch.tensor([True, False]))
    target = target_of(batch, tiny_network, torch.float32)
    assert torch.equal(target[0], high[0])
    with torch.no_grad():
        torch.testing.assert_close(target[1:], tiny_network(low[1:], batch.falloff[1:]))
    assert target_of(batch, None, torch.float32) is high
    untold = batch._replace(processed=None)
    assert not torch.equal(target_of(untold, tiny_network, torch.float32)[0], high[0])


def test_limits_are_those_of_what_training_showed(tmp_path):
    state = run(tmp_path)
    lowest, highest = load_weights(tmp_path / "weights.safetensors").state["falloff_limits"]
    assert (lowest <= 0).all()
    assert (highest >= 0).all()
    assert (highest - lowest).max() > 0
    assert torch.equal(state.network.of_scale(2).falloff_limits[0], lowest)


def test_a_step_tells_the_network_the_fall_off_of_its_batch():
    high = volumes()[0].data[None, None, :32, :32, :32]
    low = torch.nn.functional.avg_pool3d(high, 2)
    losses = []
    for shift in (0, 3):
        state = new_state(CONFIG, CPU)
        network = state.network.of_scale(2)
        for last in (network.condition[-1], network.tail):
            torch.nn.init.normal_(last.weight, generator=torch.Generator().manual_seed(0))
        batch = Batch(low, high, spectral_falloff(low) + shift)
        losses.append(take_step(state, batch, CONFIG, torch.float32))
    assert losses[0] != losses[1]


def test_a_resumed_run_equals_an_unbroken_one(tmp_path):
    unbroken = run(tmp_path / "unbroken")
    run(tmp_path / "broken", stop_after_seconds=0.0)  # stops after one step
    halfway = load_state(tmp_path / "broken", CONFIG, CPU)
    assert 0 < halfway.step < CONFIG.steps
    resumed = run(tmp_path / "broken", state=halfway)
    assert resumed.step == unbroken.step == CONFIG.steps
    for name, value in unbroken.network.state_dict().items():
        assert torch.equal(value, resumed.network.state_dict()[name]), name
    for name, value in unbroken.average.state_dict().items():
        assert torch.equal(value, resumed.average.state_dict()[name]), name


def test_a_resumed_run_logs_no_step_twice(tmp_path):
    run(tmp_path, until=2)
    checkpoint = (tmp_path / "checkpoint.pt").read_bytes()
    run(tmp_path, state=load_state(tmp_path, CONFIG, CPU))
    (tmp_path / "validation.csv").write_text("step,case\n2,a\n6,a\n")
    (tmp_path / "checkpoint.pt").write_bytes(checkpoint)  # as if killed before the next one
    run(tmp_path, state=load_state(tmp_path, CONFIG, CPU))
    assert [row["step"] for row in rows(tmp_path / "log.csv")] == ["2", "6"]
    assert rows(tmp_path / "validation.csv") == [{"step": "2", "case": "a"}]


def test_a_run_leaves_log_checkpoint_and_weights(tmp_path):
    state = run(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {
        "log.csv",
        "checkpoint.pt",
        "weights.safetensors",
    }
    assert rows(tmp_path / "log.csv")[-1]["step"] == "6"
    weights = load_weights(tmp_path / "weights.safetensors")
    assert weights.config == TINY
    for name, value in averaged(state).of_scale(2).state_dict().items():
        torch.testing.assert_close(weights.state[name], value)


@pytest.mark.slow
def test_two_processes_train_as_one(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "import sys, pathlib, torch\n"
        f"sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
        "from test_loop import run\n"
        "from tdafd_cli.training.distribution import process_group\n"
        "with process_group(torch.device('cpu')):\n"
        "    run(pathlib.Path(sys.argv[1]))\n"
    )
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command += ["--nproc-per-node", "2", str(script), str(tmp_path / "two")]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    subprocess.run(command, check=True, capture_output=True, timeout=300, env=environment)
    run(tmp_path / "one")
    losses = [float(rows(tmp_path / name / "log.csv")[-1]["loss"]) for name in ("one", "two")]
    assert losses[1] == pytest.approx(losses[0], rel=1e-4)
    first, second = (load_weights(tmp_path / n / "weights.safetensors") for n in ("one", "two"))
    for name, value in first.state.items():
        torch.testing.assert_close(second.state[name], value, atol=1e-3, rtol=1e-2)


def test_resuming_with_another_network_is_told(tmp_path):
    run(tmp_path)
    other = replace(CONFIG, network=replace(TINY, channels=16))
    with pytest.raises(DataError, match="another network"):
        load_state(tmp_path, other, CPU)


def test_resuming_a_run_of_another_version_is_told(tmp_path):
    state = run(tmp_path)
    state.network.extra = torch.nn.Linear(1, 1)
    save_state(tmp_path, state, CONFIG)
    with pytest.raises(DataError, match="another version of tdafd"):
        load_state(tmp_path, CONFIG, CPU)


def test_initial_weights_reach_every_layer_but_another_scales_tail(tmp_path):
    torch.manual_seed(5)
    trained = TDAFD(TINY)
    torch.nn.init.normal_(trained.tail.weight)
    save_weights(tmp_path / "trained.safetensors", trained, {})
    weights = load_weights(tmp_path / "trained.safetensors")
    for scale in (2, 3):
        config = replace(CONFIG, network=replace(TINY, scale=scale))
        state = new_state(config, CPU)
        initialise(state, weights)
        for network in (state.network.of_scale(scale), averaged(state).of_scale(scale)):
            torch.testing.assert_close(network.head.weight, trained.head.weight)
            assert bool(network.tail.weight.any()) == (scale == 2)


def test_initial_weights_of_another_network_are_told(tmp_path):
    save_weights(tmp_path / "trained.safetensors", TDAFD(replace(TINY, channels=16)), {})
    with pytest.raises(DataError, match="differs in more than scale"):
        initialise(new_state(CONFIG, CPU), load_weights(tmp_path / "trained.safetensors"))


def test_a_patch_off_the_networks_grid_is_refused():
    with pytest.raises(ValueError, match="not a multiple"):
        replace(CONFIG, dataset=replace(CONFIG.dataset, patch=20))


FAMILY = replace(CONFIG, further_scales=(3,))


def test_several_scales_take_turns(tmp_path):
    state = new_state(FAMILY, CPU)
    untrained = {network.config.scale: network.tail.weight.clone() for network in state.network}
    run(tmp_path, FAMILY, state, until=1)
    moved = {
        network.config.scale: not torch.equal(network.tail.weight, untrained[network.config.scale])
        for network in state.network
    }
    assert moved == {2: True, 3: False}
    run(tmp_path, FAMILY, state)
    for scale in (2, 3):
        weights = load_weights(tmp_path / f"weights-x{scale}.safetensors")
        assert weights.scale == weights.metadata["scale"] == scale
        trained = averaged(state).of_scale(scale).state_dict()
        for name, value in trained.items():
            torch.testing.assert_close(weights.state[name], value)


def test_a_resumed_family_equals_an_unbroken_one(tmp_path):
    unbroken = run(tmp_path / "unbroken", FAMILY)
    run(tmp_path / "broken", FAMILY, until=3)
    resumed = run(tmp_path / "broken", FAMILY, load_state(tmp_path / "broken", FAMILY, CPU))
    for name, value in unbroken.average.state_dict().items():
        assert torch.equal(value, resumed.average.state_dict()[name]), name


def test_resuming_with_other_scales_is_told(tmp_path):
    run(tmp_path, FAMILY, until=1)
    with pytest.raises(DataError, match="another network"):
        load_state(tmp_path, CONFIG, CPU)


@pytest.mark.parametrize("scales", [(2,), (5,), (3, 3)])
def test_scales_that_cannot_be_trained_together_are_refused(scales):
    with pytest.raises(ValueError, match="further_scales"):
        replace(CONFIG, further_scales=scales)


def test_a_teacher_of_one_scale_is_refused_for_several():
    with pytest.raises(ValueError, match="teacher"):
        replace(FAMILY, teacher="tdafd-x2")


def test_a_schedule_that_is_unknown_is_refused():
    with pytest.raises(ValueError, match="schedule"):
        replace(CONFIG, schedule="linear")


SLICES = replace(
    CONFIG,
    network=replace(TINY, axes=1),
    dataset=replace(CONFIG.dataset, slices=SliceSettings(elongated=0.0)),
    further_scales=(3,),
)


def test_networks_for_slices_train_as_a_family_and_resume(tmp_path):
    unbroken = run(tmp_path / "unbroken", SLICES)
    run(tmp_path / "broken", SLICES, until=3)
    resumed = run(tmp_path / "broken", SLICES, load_state(tmp_path / "broken", SLICES, CPU))
    for name, value in unbroken.average.state_dict().items():
        assert torch.equal(value, resumed.average.state_dict()[name]), name
    for scale in (2, 3):
        weights = load_weights(tmp_path / "broken" / f"weights-1x1x{scale}.safetensors")
        assert weights.factors == (1, 1, scale)
        limits = weights.state["falloff_limits"]
        assert limits.shape[:2] == (2, 3)
        assert (limits[0] < limits[1]).any()


def test_networks_for_one_axis_train_beside_those_for_all(tmp_path):
    mixed = replace(CONFIG, slice_scales=(2,), steps=2)
    state = run(tmp_path, mixed)
    tails = {network.config.factors: network.tail for network in state.network}
    assert set(tails) == {(2, 2, 2), (1, 1, 2)}
    assert all(bool(tail.weight.any()) for tail in tails.values())
    assert (tmp_path / "weights-x2.safetensors").is_file()
    assert (tmp_path / "weights-1x1x2.safetensors").is_file()


def test_a_run_that_began_before_there_were_networks_for_slices_goes_on(tmp_path):
    run(tmp_path, FAMILY, until=3)
    content = read_checkpoint(tmp_path / CHECKPOINT, CPU)
    del content["config"]["network"]["axes"], content["config"]["slice_scales"]
    write_checkpoint(tmp_path / CHECKPOINT, content)
    assert load_state(tmp_path, FAMILY, CPU).step == 3
    with pytest.raises(DataError, match="another network"):
        load_state(tmp_path, replace(FAMILY, slice_scales=(2,)), CPU)


@pytest.mark.parametrize(
    "wrong", [{"slice_scales": (7,)}, {"slice_scales": (2, 2)}, {"teacher": "tdafd-x2"}]
)
def test_slices_that_cannot_be_trained_together_are_refused(wrong):
    with pytest.raises(ValueError, match=r"slice_scales"):
        replace(CONFIG, **({"slice_scales": (2,)} | wrong))
