"""Training of TDAFD: a loop that resumes exactly and validates on whole volumes."""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from tdafd_cli.evaluation.validation import ValidationCase, estimated, mean_gains, validation_rows
from tdafd_cli.inference.settings import InferenceSettings
from tdafd_cli.machine.devices import precision_name
from tdafd_cli.networks.tdafd import TDAFD
from tdafd_cli.sampling.factors import Factors, factors_text
from tdafd_cli.training import distribution
from tdafd_cli.training.dataset import Batch, batches
from tdafd_cli.training.log import append_rows, drop_rows_after
from tdafd_cli.training.optimisation import learning_rate
from tdafd_cli.training.settings import TrainingConfig
from tdafd_cli.training.state import TrainingState, averaged, save_state
from tdafd_cli.training.volumes import TrainingVolume
from tdafd_cli.weights.file import save_weights

WEIGHTS = "weights.safetensors"
LOG = "log.csv"
VALIDATION_LOG = "validation.csv"
LOG_EVERY = 50  # steps

PSNR_LOSS_SCALE = 0.03
"""Makes the gradients of both losses about equally large, so that a run may change from one to the
other; about the error of a trained network."""
SQUARED_ERROR_FLOOR = 1e-6  # -60 dB: patches of air alone do not count for more


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
        ``weights.safetensors`` (the averaged weights, renewed with every checkpoint; of several
        networks ``weights-x2.safetensors``, ``weights-1x1x4.safetensors`` and so on). Rows that
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
    stream = _batches_in_turn(volumes, config, state.step, device)
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
            _validate(state, cases, output, device, dtype)
        if last or clock() - saved > 60 * config.checkpoint_minutes:
            _save(output, state, config)
            saved = clock()
        if last:
            return


def _batches_in_turn(
    volumes: Sequence[TrainingVolume], config: TrainingConfig, first_step: int, device: torch.device
) -> Iterator[Batch]:
    """Batches of steps ``first_step``, ``first_step + 1``, ..., of one network after another."""
    count = len(config.factors)
    streams = [
        batches(
            volumes,
            config.dataset,
            scale=factors,
            seed=config.seed,
            first_step=(first_step - turn + count - 1) // count,
            device=device,
            rank=distribution.rank(),
            processes=distribution.processes(),
        )
        for turn, factors in enumerate(config.factors)
    ]
    for stream in islice(cycle(streams), first_step % count, None):
        yield next(stream)


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
        cooldown=config.cooldown if config.schedule == "cooldown" else None,
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
    network = state.network.of_scale(batch.factors)
    network.observe(distribution.concatenated(batch.falloff))
    with torch.autocast(low.device.type, dtype, enabled=dtype != torch.float32):
        estimate = network(low, batch.falloff)
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
        for network in averaged(state):
            name = weights_name(config, network.config.factors)
            save_weights(output / name, network, _metadata(state, config, network.config.scale))


def weights_name(config: TrainingConfig, factors: Factors) -> str:
    """Name of the file of a network's weights in the run's folder."""
    return WEIGHTS if len(config.members) == 1 else f"weights-{_short(factors)}.safetensors"


def _short(factors: Factors) -> str:
    """Factors as in ``x2`` and ``1x1x4``."""
    text = factors_text(factors)
    return f"x{text}" if text.isdecimal() else text


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
    device: torch.device,
    dtype: torch.dtype,
) -> None:
    """Score the averaged weights on every case, in one pass without consistency, and log it."""
    settings = InferenceSettings(str(device), precision_name(dtype), ensemble=1, consistency="none")
    networks = list(averaged(state))
    state.gains = {}
    for network in networks:
        factors = network.config.factors
        own = [case for case in cases if case.case.factors == factors]
        rows = validation_rows(own, partial(estimated, network, settings=settings))
        rows = distribution.gathered(rows)
        about = {"step": state.step, "scale": factors_text(factors)}
        append_rows(output / VALIDATION_LOG, [about | row for row in rows])
        for kind, gain in mean_gains(rows).items():
            state.gains[f"{_short(factors)} {kind}" if len(networks) > 1 else kind] = gain


def _metadata(state: TrainingState, config: TrainingConfig, scale: int) -> dict[str, Any]:
    """What a weights file records of its training."""
    return {
        "scale": scale,
        "seed": config.seed,
        "step": state.step,
        "low_voxels": _low_voxels(state, config),
        "seconds": round(state.seconds),
        "recipe": asdict(config),
        "validation_gains_db": state.gains,
    }
