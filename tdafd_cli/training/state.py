"""Training state: what a run changes from step to step, and a checkpoint holds."""

from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import torch
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from tdafd_cli.errors import DataError
from tdafd_cli.networks.family import Family
from tdafd_cli.networks.tdafd import TDAFDConfig
from tdafd_cli.training.checkpoint import read_checkpoint, write_checkpoint
from tdafd_cli.training.optimisation import make_optimisers
from tdafd_cli.training.settings import TrainingConfig
from tdafd_cli.weights.file import Weights

CHECKPOINT = "checkpoint.pt"


@dataclass
class TrainingState:
    """Networks, their average and optimisers, and how far the run is."""

    network: Family
    average: AveragedModel
    optimisers: list[torch.optim.Optimizer]
    step: int = 0
    seconds: float = 0.0
    gains: dict[str, float] = field(default_factory=dict)  # dB, at the last validation


def new_state(config: TrainingConfig, device: torch.device) -> TrainingState:
    """Freshly initialised network and optimisers, drawn from the seed."""
    torch.manual_seed(config.seed)
    network = Family(config.members).to(device)
    for member in network:
        member.falloff_limits.zero_()  # widened by what training shows
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
    before = (
        TDAFDConfig.from_dict(saved["network"]),
        *(tuple(saved.get(name, ())) for name in ("further_scales", "slice_scales")),
        saved["optimiser"],
    )
    if before != (config.network, config.further_scales, config.slice_scales, config.optimiser):
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
    """Start from trained weights; networks for other scales or axes from all but their tail.

    Raises
    ------
    DataError
        If the weights are for a network that differs in more than scale.
    """
    for network in (state.network, averaged(state)):
        for member in network:
            alike = replace(weights.config, scale=member.config.scale, axes=member.config.axes)
            if member.config != alike:
                raise DataError(
                    f"{weights.name}: its network differs in more than scale; cannot start from it"
                )
            fitting = {
                name: value
                for name, value in weights.state.items()
                if member.state_dict()[name].shape == value.shape
            }
            member.load_state_dict(fitting, strict=False)


def averaged(state: TrainingState) -> Family:
    """The average of the networks, which is validated and kept."""
    family = state.average.module
    assert isinstance(family, Family)
    return family
