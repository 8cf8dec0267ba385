"""The command `tdafd train`."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tdafd_cli.commands.options import Device, Quiet, Threads
from tdafd_cli.commands.terminal import fail, stops_by_signal, user_errors

if TYPE_CHECKING:
    from tdafd_cli.training.loop import Progress
    from tdafd_cli.training.settings import TrainingConfig


class TrainingPrecision(str, Enum):
    """Values of ``--precision``."""

    AUTO = "auto"
    FP32 = "fp32"
    BF16 = "bf16"


def train(
    data: Annotated[Path, typer.Option(help="Folder of high-resolution volumes, at any depth.")],
    output: Annotated[Path, typer.Option(help="Folder for weights, recipe, checkpoint and logs.")],
    validation: Annotated[
        Path | None, typer.Option(help="Folder or file of volumes to validate on.")
    ] = None,
    recipe: Annotated[
        Path | None,
        typer.Option(
            help="TOML file of settings. (default: that of the run resumed, else a generic one)"
        ),
    ] = None,
    scale: Annotated[
        int | None, typer.Option(min=2, max=6, help="Instead of the recipe's scale.")
    ] = None,
    steps: Annotated[
        int | None, typer.Option(min=1, help="Instead of the recipe's number of steps.")
    ] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Instead of the recipe's seed.")] = None,
    workers: Annotated[
        int | None, typer.Option(min=0, help="Threads that prepare volumes ahead.")
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on from the checkpoint in OUTPUT, exactly.")
    ] = False,
    change_recipe: Annotated[
        bool,
        typer.Option("--change-recipe", help="Resume with other settings than the run began with."),
    ] = False,
    init: Annotated[
        str | None,
        typer.Option(metavar="NAME|PATH", help="Weights to start from, of any scale."),
    ] = None,
    device: Device = "auto",
    precision: Annotated[
        TrainingPrecision, typer.Option(help="Of the network; auto takes the device's fastest.")
    ] = TrainingPrecision.AUTO,
    threads: Threads = None,
    minutes: Annotated[
        float, typer.Option(min=0, help="Stop after so long, with a checkpoint to resume from.")
    ] = float("inf"),
    until: Annotated[
        int | None, typer.Option(min=1, help="Stop after this step, with a checkpoint.")
    ] = None,
    quiet: Quiet = False,
) -> None:
    """Train a network on a folder of volumes."""
    with user_errors():
        from tdafd_cli.training.run import config_of_run, train_folder

        config = config_of_run(recipe, output, resume=resume)
        config = _changed(config, scale=scale, steps=steps, seed=seed, workers=workers)
        with _progress_report(shown=not quiet) as report, stops_by_signal() as stop:
            state = train_folder(
                config,
                data,
                output,
                validation=validation,
                resume=resume,
                change_recipe=change_recipe,
                init=init,
                device=device,
                precision=precision.value,
                threads=threads,
                minutes=minutes,
                until=until,
                report=report,
                note=lambda line: None if quiet else typer.echo(f"note: {line}", err=True),
                stopped=lambda: bool(stop),
            )
    if stop:
        fail(
            f"interrupted after step {state.step}, which is kept; go on with --resume",
            code=128 + stop[0],
        )
    if not quiet:
        gains = f" ({_told(state.gains)})" if state.gains else ""
        typer.echo(f"{output}: step {state.step} of {config.steps}{gains}")


def _changed(
    config: "TrainingConfig",
    *,
    scale: int | None,
    steps: int | None,
    seed: int | None,
    workers: int | None,
) -> "TrainingConfig":
    from dataclasses import replace

    from tdafd_cli.errors import RecipeError

    network, dataset = config.network, config.dataset
    try:
        return replace(
            config,
            network=network if scale is None else replace(network, scale=scale),
            dataset=dataset if workers is None else replace(dataset, workers=workers),
            steps=config.steps if steps is None else steps,
            seed=config.seed if seed is None else seed,
        )
    except ValueError as error:
        raise RecipeError(f"--scale {scale} does not fit the recipe: {error}") from error


def _told(gains: dict[str, float]) -> str:
    """Gains as text, degradation by degradation."""
    text = ", ".join(f"{kind} {gain:+.2f} dB" for kind, gain in gains.items())
    return f"over the best interpolation: {text}"


def _short(gains: dict[str, float]) -> str:
    """Gains as text so short that a line of training fits 80 columns."""
    if not gains:
        return ""
    return f", gains {' '.join(f'{gain:+.2f}' for gain in gains.values())} dB"


@contextmanager
def _progress_report(*, shown: bool) -> Iterator[Callable[["Progress"], None]]:
    """Progress bar on a terminal, with loss, gains and time left; elsewhere a line at times."""
    if not shown:
        yield lambda progress: None
        return
    if not sys.stderr.isatty():
        yield _print_sometimes
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    columns = (
        TextColumn("Step"),
        BarColumn(bar_width=10),
        MofNCompleteColumn(),
        TextColumn("{task.description}"),
        TimeRemainingColumn(),
        TextColumn("left"),
    )
    with Bar(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task("", total=None)
        smooth = 0.0

        def report(progress: "Progress") -> None:
            nonlocal smooth
            smooth = progress.loss if smooth == 0 else 0.98 * smooth + 0.02 * progress.loss
            bar.update(
                task,
                completed=progress.step,
                total=progress.steps,
                description=f"loss {smooth:.5f}{_short(progress.gains)}",
            )

        yield report


def _print_sometimes(progress: "Progress") -> None:
    if progress.step % 100 == 0 or progress.step == progress.steps:
        typer.echo(
            f"step {progress.step} of {progress.steps}, loss {progress.loss:.5f}, "
            f"{progress.seconds:.0f} s{_short(progress.gains)}",
            err=True,
        )
