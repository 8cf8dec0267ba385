"""Training of TDAFD: a loop that resumes exactly and validates on whole volumes."""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from tdafd_cli.errors import DataError
from tdafd_cli.evaluation.validation import ValidationCase, estimated, mean_gains, validation_rows
from tdafd_cli.inference.settings import InferenceSettings
from tdafd_cli.machine.devices import precision_name
from tdafd_cli.networks.tdafd import TDAFD, TDAFDConfig
from tdafd_cli.training import distribution
from tdafd_cli.training.checkpoint import read_checkpoint, write_checkpoint
from tdafd_cli.training.dataset import Batch, DatasetSettings, TrainingVolume, batches
from tdafd_cli.training.log import append_rows, drop_rows_after
from tdafd_cli.training.optimisation import learning_rate, make_optimisers
from tdafd_cli.weights.file import Weights, save_weights

CHECKPOINT = "checkpoint.pt"
WEIGHTS = "weights.safetensors"
LOG = "log.csv"
VALIDATION_LOG = "validation.csv"
LOG_EVERY = 50  # steps

LOSSES = ("l1", "psnr")
PSNR_LOSS_SCALE = 0.03
"""Makes the gradients of both losses about equally large, so that a run may change from one to the
other; about the error of a trained network."""
SQUARED_ERROR_FLOOR = 1e-6  # -60 dB: patches of air alone do not count for more


@dataclass(frozen=True)
class TrainingConfig:
    """Everything that shapes the weights, apart from the data.

    Parameters
    ----------
    network : TDAFDConfig
    dataset : DatasetSettings
    steps : int
        Optimiser steps in all; the learning rate's cosine ends there.
    optimiser : {"muon", "adamw"}
        Muon drives the kernels of hidden layers and AdamW the rest, or AdamW everything.
    loss : {"l1", "psnr"}
        Mean absolute error, or the logarithm of each patch's mean squared error: PSNR itself, in
        which a soft or noiseless volume counts as much as a noisy one.
    learning_rate : float
        Peak, reached after ``warmup_steps``.
    final_fraction : float
        Last learning rate over peak.
    weight_decay, gradient_clip, ema_decay : float
        Of the optimiser, of the gradient's norm, of the weights' average that is validated.
    validate_every : int
        Steps between validations.
    checkpoint_minutes : float
    seed : int
    teacher : str
        Name or path of weights, of the same scale, whose estimate is the target of pairs that were
        not processed: so that a network learns what is new and keeps what it knew. Empty for none.
    """

    network: TDAFDConfig = field(default_factory=TDAFDConfig)
    dataset: DatasetSettings = field(default_factory=DatasetSettings)
    steps: int = 10_000
    optimiser: str = "muon"
    loss: str = "l1"
    learning_rate: float = 2e-3
    warmup_steps: int = 100
    final_fraction: float = 0.01
    weight_decay: float = 0.0
    gradient_clip: float = 1.0
    ema_decay: float = 0.999
    validate_every: int = 2000
    checkpoint_minutes: float = 4.0
    seed: int = 0
    teacher: str = ""

    def __post_init__(self) -> None:
        if self.dataset.patch % self.network.grid:
            raise ValueError(
                f"patch {self.dataset.patch} is not a multiple of the network's "
                f"grid of {self.network.grid}"
            )
        if self.optimiser not in ("muon", "adamw"):
            raise ValueError(f"optimiser must be muon or adamw, got {self.optimiser!r}")
        if self.loss not in LOSSES:
            raise ValueError(f"loss must be one of {', '.join(LOSSES)}, got {self.loss!r}")


@dataclass(frozen=True)
class Progress:
    """What a step reports.

    Attributes
    ----------
    step, steps : int
        Done, of how many.
    loss, learning_rate : float
        Of this step.
    seconds : float
        Spent so far, in every stretch of the run.
    gains : dict
        Mean gain in foreground PSNR over the best interpolation at the last validation, in dB, for
        each degradation; empty before it.
    """

    step: int
    steps: int
    loss: float
    learning_rate: float
    seconds: float
    gains: dict[str, float]


@dataclass
class TrainingState:
    """What a run changes from step to step, and a checkpoint holds."""

    network: TDAFD
    average: AveragedModel
    optimisers: list[torch.optim.Optimizer]
    step: int = 0
    seconds: float = 0.0
    gains: dict[str, float] = field(default_factory=dict)  # dB, at the last validation


def new_state(config: TrainingConfig, device: torch.device) -> TrainingState:
    """Freshly initialised network and optimisers, drawn from the seed."""
    torch.manual_seed(config.seed)
    network = TDAFD(config.network).to(device)
    network.falloff_limits.zero_()  # widened by what training shows
    network = network.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
    optimisers = make_optimisers(
        network, config.optimiser, rate=config.learning_rate, decay=config.weight_decay
    )
    ema = get_ema_multi_avg_fn(config.ema_decay)  # type: ignore[no-untyped-call]
    average = AveragedModel(network, multi_avg_fn=ema)
    return TrainingState(network, average, optimisers)


def save_state(folder: Path, state: TrainingState, config: TrainingConfig) -> None:
    """Checkpoint a run."""
    content = {
        "config": asdict(config),
        "network": state.network.state_dict(),
        "average": state.average.state_dict(),
        "optimisers": [optimiser.state_dict() for optimiser in state.optimisers],
        "step": state.step,
        "seconds": state.seconds,
        "gains": state.gains,
    }
    write_checkpoint(folder / CHECKPOINT, content)


def load_state(folder: Path, config: TrainingConfig, device: torch.device) -> TrainingState:
    """State of the run in a folder, as :func:`save_state` left it.

    Raises
    ------
    DataError
        If there is no checkpoint, or its network or optimiser differs from the configuration's.
    """
    path = folder / CHECKPOINT
    content = read_checkpoint(path, device)
    saved = content["config"]
    if (saved["network"], saved["optimiser"]) != (config.network.to_dict(), config.optimiser):
        raise DataError(
            f"{path}: made with another network or optimiser; resume with the recipe that began it"
        )
    state = new_state(config, device)
    if state.network.state_dict().keys() != content["network"].keys():
        raise DataError(f"{path}: made by another version of tdafd; resume with that one")
    state.network.load_state_dict(content["network"])
    state.average.load_state_dict(content["average"])
    for optimiser, optimiser_state in zip(state.optimisers, content["optimisers"], strict=True):
        optimiser.load_state_dict(optimiser_state)
    state.step, state.seconds, state.gains = content["step"], content["seconds"], content["gains"]
    return state


def initialise(state: TrainingState, weights: Weights) -> None:
    """Start from trained weights; of a network for another scale, from all but its tail.

    Raises
    ------
    DataError
        If the weights are for a network that differs in more than scale.
    """
    own = state.network.config.to_dict() | {"scale": weights.scale}
    if weights.config.to_dict() != own:
        raise DataError(
            f"{weights.name}: its network differs in more than scale; cannot start from it"
        )
    shapes = {name: value.shape for name, value in state.network.state_dict().items()}
    fitting = {n: value for n, value in weights.state.items() if shapes[n] == value.shape}
    state.network.load_state_dict(fitting, strict=False)
    state.average.module.load_state_dict(fitting, strict=False)


def train(
    state: TrainingState,
    volumes: Sequence[TrainingVolume],
    cases: Sequence[ValidationCase],
    output: Path,
    *,
    config: TrainingConfig,
    device: torch.device,
    dtype: torch.dtype = torch.float32,
    teacher: TDAFD | None = None,
    report: Callable[[Progress], None] = lambda progress: None,
    stop_after_seconds: float = math.inf,
    until: int | None = None,
    stopped: Callable[[], bool] = lambda: False,
) -> None:
    """Run the steps that are left, writing logs, checkpoints and weights into a folder.

    Parameters
    ----------
    state : TrainingState
        From :func:`new_state` or :func:`load_state`; changed in place.
    volumes : sequence of TrainingVolume
    cases : sequence of ValidationCase
        This process's share, validated every ``config.validate_every`` steps and at the end.
    output : Path
        Existing folder for ``log.csv``, ``validation.csv``, ``checkpoint.pt`` and
        ``weights.safetensors`` (the averaged weights, renewed with every checkpoint). Rows that
        logs hold of steps beyond the state's are dropped: these steps are done again.
    config : TrainingConfig
    device : torch.device
    dtype : {torch.float32, torch.bfloat16}
        Precision of the trunk.
    teacher : TDAFD, optional
        On the device; see ``config.teacher``.
    report : callable
        Called after every step.
    stop_after_seconds : float
        Checkpoint and return after this long; a resumed run goes on with the same schedule.
    until : int, optional
        Checkpoint and return after this step; a resumed run goes on likewise.
    stopped : callable
        Asked after every step whether to checkpoint and return, in one process or another.
    """
    stream = batches(
        volumes,
        config.dataset,
        scale=config.network.scale,
        seed=config.seed,
        first_step=state.step,
        device=device,
        rank=distribution.rank(),
        processes=distribution.processes(),
    )
    for log in (LOG, VALIDATION_LOG):
        drop_rows_after(output / log, state.step)
    clock = time.monotonic
    begun, saved, logged = clock() - state.seconds, clock(), clock()
    deadline = clock() + stop_after_seconds
    validated = distribution.any_of(bool(cases))
    losses: list[float] = []
    for batch in islice(stream, config.steps - state.step):
        losses.append(take_step(state, batch, config, dtype, teacher))
        state.seconds = clock() - begun
        stop = distribution.any_of(stopped() or clock() > deadline)
        last = stop or state.step in (config.steps, until)
        report(_progress(state, config, losses[-1]))
        if state.step % LOG_EVERY == 0 or last:
            row = _log_row(state, config, losses, clock() - logged)
            append_rows(output / LOG, [row])
            losses, logged = [], clock()
        if validated and (state.step % config.validate_every == 0 or state.step == config.steps):
            _validate(state, cases, output, dtype)
        if last or clock() - saved > 60 * config.checkpoint_minutes:
            _save(output, state, config)
            saved = clock()
        if last:
            return


def loss_of(difference: torch.Tensor, name: str) -> torch.Tensor:
    """Loss of a batch's differences (B, 1, I, J, K) from its targets."""
    if name == "l1":
        return difference.abs().mean()
    squared = difference.square().mean(dim=(1, 2, 3, 4))
    return PSNR_LOSS_SCALE / 2 * (squared + SQUARED_ERROR_FLOOR).log().mean()


def rate_at(step: int, config: TrainingConfig) -> float:
    """Learning rate of a step."""
    return learning_rate(
        step,
        peak=config.learning_rate,
        steps=config.steps,
        warmup_steps=config.warmup_steps,
        final_fraction=config.final_fraction,
    )


def target_of(batch: Batch, teacher: TDAFD | None, dtype: torch.dtype) -> torch.Tensor:
    """High patches; of volumes as scanners make them what a teacher makes of the low ones."""
    if teacher is None:
        return batch.high
    taught = torch.ones(len(batch.low), dtype=torch.bool)
    if batch.processed is not None:
        taught = ~batch.processed
    if not taught.any():
        return batch.high
    target = batch.high.clone()
    low = batch.low[taught].contiguous(memory_format=torch.channels_last_3d)
    with torch.no_grad(), torch.autocast(low.device.type, dtype, enabled=dtype != torch.float32):
        target[taught] = teacher(low, batch.falloff[taught])
    return target


def take_step(
    state: TrainingState,
    batch: Batch,
    config: TrainingConfig,
    dtype: torch.dtype,
    teacher: TDAFD | None = None,
) -> float:
    """One optimiser step on a batch; its mean absolute error."""
    rate = rate_at(state.step, config)
    for optimiser in state.optimisers:
        for group in optimiser.param_groups:
            group["lr"] = rate
        optimiser.zero_grad()
    low = batch.low.contiguous(memory_format=torch.channels_last_3d)
    state.network.observe(distribution.concatenated(batch.falloff))
    with torch.autocast(low.device.type, dtype, enabled=dtype != torch.float32):
        estimate = state.network(low, batch.falloff)
    difference = estimate - target_of(batch, teacher, dtype)
    loss = loss_of(difference, config.loss)
    loss.backward()  # type: ignore[no-untyped-call]
    error = difference.detach().abs().mean()
    gradients = [p.grad for p in state.network.parameters() if p.grad is not None]
    distribution.average_([*gradients, error])
    nn.utils.clip_grad_norm_(state.network.parameters(), config.gradient_clip)
    for optimiser in state.optimisers:
        optimiser.step()
    state.average.update_parameters(state.network)
    state.step += 1
    return float(error)


def _save(output: Path, state: TrainingState, config: TrainingConfig) -> None:
    """Write checkpoint and weights; the first process alone does."""
    if distribution.rank() == 0:
        save_state(output, state, config)
        save_weights(output / WEIGHTS, _averaged(state), _metadata(state, config))


def _averaged(state: TrainingState) -> TDAFD:
    network = state.average.module
    assert isinstance(network, TDAFD)
    return network


def _progress(state: TrainingState, config: TrainingConfig, loss: float) -> Progress:
    rate = rate_at(state.step, config)
    return Progress(state.step, config.steps, loss, rate, state.seconds, dict(state.gains))


def _low_voxels(state: TrainingState, config: TrainingConfig) -> int:
    return state.step * config.dataset.batch * config.dataset.patch**3


def _log_row(
    state: TrainingState, config: TrainingConfig, losses: Sequence[float], seconds: float
) -> dict[str, float]:
    return {
        "step": state.step,
        "low_voxels": _low_voxels(state, config),
        "loss": round(float(np.mean(losses)), 7),
        "learning_rate": rate_at(state.step, config),
        "seconds": round(state.seconds, 1),
        "seconds_per_step": round(seconds / len(losses), 4),
    }


def _validate(
    state: TrainingState,
    cases: Sequence[ValidationCase],
    output: Path,
    dtype: torch.dtype,
) -> None:
    """Score the averaged weights on every case, in one pass without consistency, and log it."""
    network = _averaged(state)
    device = next(network.parameters()).device
    settings = InferenceSettings(str(device), precision_name(dtype), ensemble=1, consistency="none")
    rows = validation_rows(cases, lambda case: estimated(network, case, settings))
    rows = distribution.gathered(rows)
    append_rows(output / VALIDATION_LOG, [{"step": state.step} | row for row in rows])
    state.gains = mean_gains(rows)


def _metadata(state: TrainingState, config: TrainingConfig) -> dict[str, Any]:
    """What a weights file records of its training."""
    return {
        "scale": config.network.scale,
        "seed": config.seed,
        "step": state.step,
        "low_voxels": _low_voxels(state, config),
        "seconds": round(state.seconds),
        "recipe": asdict(config),
        "validation_gains_db": state.gains,
    }
