"""The command `tdafd benchmark`."""

import shlex
import sys
from collections.abc import Callable
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tdafd_cli.commands.options import (
    SCALES,
    Consistency,
    ConsistencyName,
    Device,
    Ensemble,
    PassesName,
    Precision,
    Quiet,
    Threads,
    check_scale,
    factors_given,
)
from tdafd_cli.commands.terminal import user_errors
from tdafd_cli.sampling.kinds import DEGRADATIONS, SLICE_DEGRADATIONS

if TYPE_CHECKING:
    from tdafd_cli.benchmark.results import Results
    from tdafd_cli.benchmark.tables import Table


class DegradationName(str, Enum):
    """Values of ``--degradation``."""

    KSPACE = "kspace"
    GAUSSIAN = "gaussian"
    AVERAGE = "average"
    THICK = "thick"
    THICK_GAP = "thick-gap"
    THICK_SLR = "thick-slr"
    ALL = "all"

    def names(self, *, one_axis: bool) -> tuple[str, ...]:
        """The degradation by its names in `sampling.kinds`, or every one of all axes, or of one."""
        if self is DegradationName.ALL:
            return SLICE_DEGRADATIONS if one_axis else DEGRADATIONS
        if self is DegradationName.THICK:
            return ("thick-boxcar", "thick-gaussian")
        if self is DegradationName.THICK_GAP:
            return ("thick-boxcar-gap", "thick-gaussian-gap")
        return (self.value,)


def _check_method(definitions: list[str]) -> list[str]:
    for definition in definitions:
        name, command = _named(definition)
        if not (name and command.strip()):
            raise typer.BadParameter(
                f"{definition!r} is not of the form NAME='COMMAND {{input}} {{output}} {{scale}}'"
            )
    return definitions


def _named(definition: str) -> tuple[str, str]:
    """Name and command of ``NAME=COMMAND``; the command is empty without ``=``."""
    name, _, command = definition.partition("=")
    return name.strip(), command


def benchmark(
    more: Annotated[
        list[Path] | None,
        typer.Argument(metavar="[FILE]...", help="More volumes, as in --data volumes/*.nii.gz."),
    ] = None,
    data: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="DIR|FILE", help="High-resolution volumes to degrade and upscale; repeatable."
        ),
    ] = None,
    example: Annotated[
        bool,
        typer.Option(
            "--example",
            help="Use the volume that comes with tdafd, as --weights or --method alone do.",
        ),
    ] = False,
    scale: Annotated[
        str | None,
        typer.Option(
            metavar="N|IxJxK",
            callback=check_scale,
            help="As for upscale. (default: 2 with volumes, else 2, 3 and 4)",
        ),
    ] = None,
    degradation: Annotated[
        DegradationName, typer.Option(help="How volumes are degraded.")
    ] = DegradationName.ALL,
    weights: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME|PATH", help="Instead of tdafd-xSCALE; repeatable."),
    ] = None,
    method: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=COMMAND",
            callback=lambda given: _check_method(given or []),
            help="Another program: its command with {input}, {output}, {scale}; repeatable.",
        ),
    ] = None,
    patch: Annotated[
        int, typer.Option(min=16, max=512, help="Edge of the output patch that costs are for.")
    ] = 64,
    time_peers: Annotated[
        bool, typer.Option("--time-peers", help="Run the peers too: minutes on a CPU.")
    ] = False,
    json_file: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Write all results as JSON.")
    ] = None,
    csv_file: Annotated[
        Path | None, typer.Option("--csv", metavar="FILE", help="Write scores line by line.")
    ] = None,
    markdown: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the tables as Markdown.")
    ] = None,
    report: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Write one HTML page with plots and slices."),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace files that exist.")
    ] = False,
    device: Device = "auto",
    precision: Annotated[
        Precision, typer.Option(help="Of networks; auto takes the device's fastest.")
    ] = Precision.AUTO,
    threads: Threads = None,
    tile: Annotated[
        int,
        typer.Option(
            min=64, help="Edge of a tile in low voxels; fixed, so that runs agree exactly."
        ),
    ] = 128,
    ensemble: Ensemble = PassesName.AUTO,
    consistency: Consistency = ConsistencyName.AUTO,
    seed: Annotated[int, typer.Option(min=0, help="Of the bootstrap.")] = 0,
    quiet: Quiet = False,
) -> None:
    """Compare TDAFD with interpolation and other methods: cost, and quality on volumes."""
    places = [*(data or []), *(more or [])]
    scored = bool(places or example or weights or method)
    factors = _factors(scale, degradation)
    with user_errors():
        from tdafd_cli.benchmark.outputs import Outputs, check_outputs, write_outputs

        outputs = Outputs(json_file, csv_file, markdown, report)
        check_outputs(outputs, overwrite)  # before torch takes its seconds

        from tdafd_cli.benchmark.run import BenchmarkSettings, run_benchmark
        from tdafd_cli.formats.folders import example_path
        from tdafd_cli.inference.settings import InferenceSettings
        from tdafd_cli.weights.store import DEFAULT_SCALE

        results, panels = run_benchmark(
            BenchmarkSettings(
                places=tuple(places or ([example_path()] if scored else [])),
                scales=(factors,) if factors else (DEFAULT_SCALE,) if scored else SCALES,
                degradations=degradation.names(one_axis=isinstance(factors, tuple)),
                weights=tuple(weights or ()),
                commands=tuple(_named(definition) for definition in method or ()),
                inference=InferenceSettings(
                    device,
                    precision.value,
                    tile,
                    threads=threads,
                    ensemble=ensemble.passes,
                    consistency=consistency.value,
                ),
                patch=patch,
                time_peers=time_peers,
                seed=seed,
                slices=report is not None,
            ),
            command=shlex.join(["tdafd", *sys.argv[1:]]),
            progress=_progress(shown=not quiet),
        )
        write_outputs(outputs, results, panels)
    if not quiet:
        _print(results)
    for failure in results.failures:
        typer.echo(f"error: {' '.join(failure.message.split())}", err=True)
    if results.failures:
        raise typer.Exit(1)


def _factors(scale: str | None, degradation: DegradationName) -> int | tuple[int, int, int] | None:
    """The scale, or factors if they are of one axis alone; a usage error if it fits nothing."""
    factors = factors_given(scale)
    one_axis = factors is not None and min(factors) == 1
    if degradation.value.startswith("thick") and not one_axis:
        raise typer.BadParameter(
            f"{degradation.value} is of one axis alone: add --scale 1x1x4, say",
            param_hint="--degradation",
        )
    if factors is not None and min(factors) > max(SCALES):
        raise typer.BadParameter(
            f"{scale} is for one axis alone: use 1x1x{scale}", param_hint="--scale"
        )
    return factors if factors is None or one_axis else factors[0]


def _print(results: "Results") -> None:
    from rich.console import Console

    from tdafd_cli.benchmark.tables import result_tables

    wide = None if sys.stdout.isatty() else 140
    console = Console(width=wide, highlight=False)
    for table in result_tables(results):
        console.print(_rich(table))
        for note in table.notes:
            console.print(note, style="dim", markup=False)


def _rich(table: "Table") -> object:
    from rich.table import Table as RichTable
    from rich.text import Text

    shown = RichTable(title=table.title, title_justify="left", title_style="bold")
    for column, heading in enumerate(table.headings):
        shown.add_column(heading, justify="left" if column < table.texts else "right")
    for number, row in enumerate(table.rows):
        shown.add_row(
            *[
                Text(cell, style="bold" if (number, column) in table.best else "")
                for column, cell in enumerate(row)
            ]
        )
    return shown


def _progress(*, shown: bool) -> Callable[[str], None]:
    """One line on stderr that is written over, if a person is watching."""
    if not (shown and sys.stderr.isatty()):
        return lambda line: None
    return lambda line: typer.echo(f"\r\x1b[K{line}", err=True, nl=False)
