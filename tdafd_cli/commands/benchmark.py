"""The command `tdafd benchmark`."""

import shlex
import sys
from collections.abc import Callable, Sequence
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tdafd_cli.commands.options import (
    DEFAULT_SCALE,
    Consistency,
    ConsistencyName,
    Device,
    Ensemble,
    PassesName,
    Precision,
    Quiet,
    Threads,
)
from tdafd_cli.commands.terminal import user_errors

if TYPE_CHECKING:
    import numpy as np

    from tdafd_cli.benchmark.gallery import Panel
    from tdafd_cli.benchmark.methods import Method
    from tdafd_cli.benchmark.results import Results
    from tdafd_cli.benchmark.tables import Table
    from tdafd_cli.evaluation.case import Case
    from tdafd_cli.inference.prediction import InferenceSettings
    from tdafd_cli.networks.tdafd import TDAFDConfig

PAGE = "index.html"
SCALES = (2, 3, 4)


class DegradationName(str, Enum):
    """Values of ``--degradation``."""

    KSPACE = "kspace"
    GAUSSIAN = "gaussian"
    AVERAGE = "average"
    ALL = "all"


def _check_method(definitions: list[str]) -> list[str]:
    for definition in definitions:
        name, equals, command = definition.partition("=")
        if not (name.strip() and equals and command.strip()):
            raise typer.BadParameter(
                f"{definition!r} is not of the form NAME='COMMAND {{input}} {{output}} {{scale}}'"
            )
    return definitions


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
        int | None, typer.Option(min=2, max=4, help="(default: 2 with volumes, else 2, 3 and 4)")
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
    targets = [path for path in (json_file, csv_file, markdown) if path is not None]
    with user_errors():
        _check_targets(targets, report, overwrite)
        places = _places([*(data or []), *(more or [])], example or bool(method or weights))
        progress = _progress(shown=not quiet)

        from tdafd_cli.benchmark.costs import costs
        from tdafd_cli.benchmark.gallery import new_panels
        from tdafd_cli.benchmark.results import Results
        from tdafd_cli.benchmark.run import check_methods, find_volumes, run_benchmark
        from tdafd_cli.inference.prediction import InferenceSettings
        from tdafd_cli.machine.devices import choose_device, choose_precision, precision_name
        from tdafd_cli.provenance import provenance

        place = choose_device(device)
        dtype = precision_name(choose_precision(precision.value, place))
        settings = InferenceSettings(
            str(place),
            dtype,
            tile,
            threads=threads,
            ensemble=ensemble.passes,
            consistency=consistency.value,
        )
        volumes = find_volumes(places)
        scales = (scale,) if scale else (DEFAULT_SCALE,) if volumes else SCALES
        methods: list[Method] = []
        if volumes:
            methods = _methods(weights or [], method or [], scales[0], settings, patch)
            check_methods(methods)
        results = Results(
            provenance(
                command=shlex.join(["tdafd", *sys.argv[1:]]),
                device=str(place),
                precision=dtype,
                threads=threads,
                seed=seed,
            )
        )
        panels: list[Panel] = []

        def seen(case: "Case", name: str, estimate: "np.ndarray") -> None:
            if report is not None:
                panels.extend(new_panels(case, name, estimate, panels))

        for cost in costs(
            _configs(scales),
            patch=patch,
            device=str(place),
            precision=dtype,
            threads=threads,
            time_peers=time_peers,
        ):
            progress(f"x{cost.scale}: {cost.network}")
            results.costs.append(cost)
        if volumes:
            run_benchmark(
                results,
                volumes,
                methods,
                scale=scales[0],
                degradations=_degradations(degradation),
                seen=seen,
                progress=progress,
            )
        progress("")
        _write(results, panels, json_file, csv_file, markdown, report)
    if not quiet:
        _print(results)
    for failure in results.failures:
        typer.echo(f"error: {' '.join(failure.message.split())}", err=True)
    if results.failures:
        raise typer.Exit(1)


def _places(given: Sequence[Path], example: bool) -> list[Path]:
    if given or not example:
        return list(given)
    from tdafd_cli.benchmark.run import example_path

    return [example_path()]


def _check_targets(targets: Sequence[Path], report: Path | None, overwrite: bool) -> None:
    """Refuse what cannot be written before the work is done."""
    from tdafd_cli.errors import OutputError
    from tdafd_cli.output import check_writable

    for target in targets:
        check_writable(target, overwrite)
    if report is None:
        return
    try:
        report.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{report}: cannot be made: {error.strerror}") from error
    check_writable(report / PAGE, overwrite)


def _degradations(chosen: DegradationName) -> list[str]:
    if chosen is DegradationName.ALL:
        return [name.value for name in DegradationName if name is not DegradationName.ALL]
    return [chosen.value]


def _methods(
    weights: Sequence[str],
    definitions: Sequence[str],
    scale: int,
    settings: "InferenceSettings",
    patch: int,
) -> "list[Method]":
    from tdafd_cli.benchmark.methods import external, interpolations, trained
    from tdafd_cli.weights.store import default_name, load_weights

    commands = [definition.partition("=") for definition in definitions]
    return [
        *interpolations(settings.threads),
        *(
            trained(load_weights(name, scale=scale), settings, patch=patch)
            for name in (weights or [default_name(scale)])
        ),
        *(external(name.strip(), command) for name, _, command in commands),
    ]


def _configs(scales: Sequence[int]) -> "dict[int, TDAFDConfig]":
    """The network that comes with the program for each scale; the default one where none does."""
    from tdafd_cli.networks.tdafd import TDAFDConfig
    from tdafd_cli.weights.store import bundled_names, default_name, load_weights

    bundled = bundled_names()
    return {
        scale: load_weights(default_name(scale)).config
        if f"tdafd-x{scale}" in bundled
        else TDAFDConfig(scale=scale)
        for scale in scales
    }


def _write(
    results: "Results",
    panels: "list[Panel]",
    json_file: Path | None,
    csv_file: Path | None,
    markdown: Path | None,
    report: Path | None,
) -> None:
    import json

    from tdafd_cli.benchmark.page import to_html
    from tdafd_cli.benchmark.tables import result_tables, to_csv, to_markdown
    from tdafd_cli.output import replacing

    texts: list[tuple[Path | None, Callable[[], str]]] = [
        (json_file, lambda: json.dumps(results.to_dict(), indent=1) + "\n"),
        (csv_file, lambda: to_csv(results)),
        (markdown, lambda: to_markdown(result_tables(results))),
        (report and report / PAGE, lambda: to_html(results, panels)),
    ]
    for path, text in texts:
        if path is not None:
            with replacing(path) as file:
                file.write(text().encode())


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
