"""Training runs: a folder of volumes in, a folder of weights, checkpoint and logs out."""

from collections.abc import Callable
from pathlib import Path

import torch

from tdafd_cli.errors import DataError, DeviceError, OutputError, RecipeError
from tdafd_cli.evaluation.validation import ValidationCase, validation_cases
from tdafd_cli.formats.folders import volume_paths
from tdafd_cli.machine.devices import choose_device, choose_precision, threads_limited
from tdafd_cli.machine.memory import freed_memory_kept
from tdafd_cli.networks.tdafd import TDAFD
from tdafd_cli.sampling.factors import factors_text
from tdafd_cli.training import distribution
from tdafd_cli.training.checkpoint import missing_checkpoint
from tdafd_cli.training.loop import Progress, train
from tdafd_cli.training.recipe import differing_settings, read_recipe, write_recipe
from tdafd_cli.training.settings import TrainingConfig
from tdafd_cli.training.state import (
    CHECKPOINT,
    TrainingState,
    initialise,
    load_state,
    new_state,
)
from tdafd_cli.training.volumes import TrainingVolume, load_volumes, usable
from tdafd_cli.weights.store import load_weights

RECIPE = "recipe.toml"
GENERIC = Path(__file__).with_name("generic.toml")
"""Recipe for a folder of any volumes."""


def config_of_run(recipe: Path | None, output: Path, *, resume: bool) -> TrainingConfig:
    """Settings to train with: of a recipe, else of the run that is resumed, else the generic ones.

    Raises
    ------
    RecipeError
        If the recipe cannot be used.
    """
    if recipe is None and resume and (output / CHECKPOINT).is_file():
        recipe = output / RECIPE
    return read_recipe(GENERIC if recipe is None else recipe)


def train_folder(
    config: TrainingConfig,
    data: Path,
    output: Path,
    *,
    validation: Path | None = None,
    resume: bool = False,
    change_recipe: bool = False,
    init: str | None = None,
    device: str = "auto",
    precision: str = "auto",
    threads: int | None = None,
    minutes: float = float("inf"),
    until: int | None = None,
    report: Callable[[Progress], None] = lambda progress: None,
    note: Callable[[str], None] = lambda line: None,
    stopped: Callable[[], bool] = lambda: False,
) -> TrainingState:
    """Train on the volumes in a folder, leaving weights, recipe, checkpoint and logs in another.

    Under torchrun every process calls this alike, and all train as one.

    Parameters
    ----------
    config : TrainingConfig
    data, output : Path
        High-resolution volumes, anywhere below; the run's folder, made if it is not there.
    validation : Path, optional
        Folder or file of volumes to validate on; none of them may be among the training volumes.
    resume : bool
        Go on from the checkpoint in ``output``.
    change_recipe : bool
        Whether to resume even if the run began with other settings than ``config``.
    init : str, optional
        Name or path of weights to start from.
    device, precision, threads
        As for `tdafd upscale`; precision fp32 or bf16.
    minutes : float
        Stop after this long, with a checkpoint to resume from.
    until : int, optional
        Stop after this step, with a checkpoint to resume from.
    report : callable
        Called after every step, in the first process only.
    note : callable
        Called with a line on each volume that is left out, in the first process only.
    stopped : callable
        Asked after every step whether to stop, with a checkpoint to resume from.

    Returns
    -------
    TrainingState
        As the last checkpoint holds it.

    Raises
    ------
    TdafdError
        If data, output, weights or device are not what training needs.
    """
    place = _own_device(device)
    dtype = choose_precision(precision, place)
    if dtype == torch.float16:
        if precision != "auto":
            raise DeviceError("precision fp16: training in it is not supported; use bf16 or fp32")
        dtype = torch.float32
    _check_output(output, resume)
    if resume and not change_recipe:
        _check_unchanged(config, output / RECIPE)
    _check_batch(config)
    if validation is not None and not validation.exists():
        raise DataError(f"{validation}: no such file or folder to validate on; check the name")
    initial = None if init is None or resume else load_weights(init)
    with distribution.process_group(place), threads_limited(threads), freed_memory_kept():
        volumes = _volumes(data, config, note if distribution.rank() == 0 else lambda line: None)
        cases = _cases(validation, data, config)
        state = load_state(output, config, place) if resume else new_state(config, place)
        if initial is not None:
            initialise(state, initial)
        teacher = _teacher(config, place)
        if distribution.rank() == 0:
            output.mkdir(parents=True, exist_ok=True)
            write_recipe(output / RECIPE, config)
        train(
            state,
            volumes,
            cases,
            output,
            config=config,
            device=place,
            dtype=dtype,
            teacher=teacher,
            report=report if distribution.rank() == 0 else lambda progress: None,
            stop_after_seconds=60 * minutes,
            until=until,
            stopped=stopped,
        )
    return state


def _volumes(
    data: Path, config: TrainingConfig, note: Callable[[str], None]
) -> list[TrainingVolume]:
    """Training volumes, some of which every network of the run can be trained on."""
    dataset = config.dataset
    smallest = dataset.patch * max(factors[0] for factors in config.factors)
    volumes = load_volumes(data, dataset.sources, smallest, note)
    for factors in config.factors:
        if not usable(volumes, factors, dataset.patch):
            raise DataError(
                f"{data}: no volume is sharp and long enough for {factors_text(factors)}, of which "
                f"a patch takes {dataset.patch * factors[2]} voxels along an axis; add larger "
                "volumes, make patches smaller, or train other factors"
            )
    return volumes


def _teacher(config: TrainingConfig, device: torch.device) -> TDAFD | None:
    """Network that the configuration's teacher names, if any, ready on a device."""
    if not config.teacher:
        return None
    network = load_weights(config.teacher, scale=config.network.factors).network().to(device)
    network.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
    return network


def _own_device(name: str) -> torch.device:
    """The device asked for; of several GPUs the one of this process."""
    local = distribution.local_rank()
    return choose_device(f"cuda:{local}" if name == "cuda" and local is not None else name)


def _check_output(output: Path, resume: bool) -> None:
    if output.exists() and not output.is_dir():
        raise OutputError(f"{output}: exists and is not a folder; choose another name")
    if (output / CHECKPOINT).exists() and not resume:
        raise OutputError(f"{output}: holds a run already; add --resume or choose another folder")
    if resume and not (output / CHECKPOINT).is_file():
        raise missing_checkpoint(output / CHECKPOINT)


def _check_unchanged(config: TrainingConfig, recipe: Path) -> None:
    differing = differing_settings(config, read_recipe(recipe))
    if differing:
        raise RecipeError(
            f"{recipe}: the run began with other settings ({', '.join(differing)}); resume without "
            "--recipe, or add --change-recipe to go on with these"
        )


def _check_batch(config: TrainingConfig) -> None:
    """Refuse a batch that processes cannot share equally."""
    batch, processes = config.dataset.batch, distribution.started_processes() or 1
    if batch % processes:
        raise RecipeError(
            f"batch {batch} cannot be shared equally by {processes} processes; make batch under "
            f"[dataset] in the recipe a multiple of {processes}, or start fewer processes"
        )


def _cases(validation: Path | None, data: Path, config: TrainingConfig) -> list[ValidationCase]:
    """Return the share of the validation cases that falls to this process."""
    if validation is None:
        return []
    paths = [validation] if validation.is_file() else volume_paths(validation)
    shared = {path.resolve() for path in paths} & _training_paths(data, config)
    if shared:
        raise DataError(f"{min(shared)}: is in both training and validation; keep them apart")
    rank, processes = distribution.rank(), distribution.processes()
    return [
        case
        for factors in config.factors
        for case in validation_cases(paths, factors, rank=rank, processes=processes)
    ]


def _training_paths(data: Path, config: TrainingConfig) -> set[Path]:
    matching = {p for source in config.dataset.sources for p in data.glob(source.pattern)}
    return {path.resolve() for path in volume_paths(data) if path in matching}
