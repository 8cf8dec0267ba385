"""Command line: parse, call one library function, print.

Results go to stdout, all else to stderr. Exit codes: 0 done, 1 an error in one line, 2 usage,
130 interrupted, 143 terminated. Whatever is slow to import is imported inside the commands.
"""

import json
import signal
import sys
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from tdafd_cli import __version__
from tdafd_cli.commands.benchmark import benchmark
from tdafd_cli.commands.options import (
    DEFAULT_SCALE,
    AsJson,
    Consistency,
    ConsistencyName,
    Device,
    Ensemble,
    PassesName,
    Precision,
    Quiet,
    Threads,
)
from tdafd_cli.commands.terminal import progress_bar, user_errors
from tdafd_cli.commands.train import train
from tdafd_cli.commands.weights import app as weights_app
from tdafd_cli.commands.weights import download_bar
from tdafd_cli.errors import size_text

app = typer.Typer(
    name="tdafd",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,  # plain text is instant, and errors stay in one line
    pretty_exceptions_enable=False,  # they print local variables, headers' free text among them
    context_settings={"help_option_names": ["-h", "--help"]},
)


MOST_WARNINGS = 3  # lines for one volume; --json has all


class LabelsName(str, Enum):
    """Values of ``--labels``."""

    AUTO = "auto"
    YES = "yes"
    NO = "no"


class OutputDtype(str, Enum):
    """Values of ``--dtype``."""

    INPUT = "input"
    UINT8 = "uint8"
    INT16 = "int16"
    UINT16 = "uint16"
    INT32 = "int32"
    UINT32 = "uint32"
    FLOAT32 = "float32"
    FLOAT64 = "float64"


def main() -> None:
    """Run the command line; SIGTERM unwinds like Ctrl-C, so that no partial file is left."""
    signal.signal(signal.SIGTERM, _terminate)
    app()


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"tdafd {__version__}")
        raise typer.Exit


@app.callback()
def tdafd(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_show_version, is_eager=True, help="Show the version and exit."
        ),
    ] = False,
) -> None:
    """Lightweight 3D MRI super-resolution with TDAFD."""


def _check_tile(tile: str) -> str:
    if tile != "auto" and not (tile.isdecimal() and int(tile) > 0):
        raise typer.BadParameter(f"{tile!r} is neither auto nor a number of voxels")
    return tile


def _check_png(path: Path | None) -> Path | None:
    if path is not None and path.suffix.lower() != ".png":
        raise typer.BadParameter(f"'{path}' does not end in .png")
    return path


@app.command()
def upscale(
    source: Annotated[Path, typer.Argument(metavar="INPUT", exists=True, help="NIfTI volume.")],
    target: Annotated[
        Path, typer.Argument(metavar="OUTPUT", help="NIfTI file to write: .nii or .nii.gz.")
    ],
    scale: Annotated[
        int | None,
        typer.Option(
            min=2,
            max=4,
            help="New voxels per voxel along each axis. (default: that of the weights, or 2)",
        ),
    ] = None,
    weights: Annotated[
        str | None,
        typer.Option(
            metavar="NAME|PATH",
            help="Weights that come with tdafd, or a .safetensors file. (default: tdafd-xSCALE)",
        ),
    ] = None,
    device: Device = "auto",
    precision: Annotated[
        Precision, typer.Option(help="Of the network; auto takes the device's fastest.")
    ] = Precision.AUTO,
    tile: Annotated[
        str,
        typer.Option(
            metavar="auto|N",
            callback=_check_tile,
            help="Largest edge of a tile in voxels; auto fits it to memory and volume.",
        ),
    ] = "auto",
    overlap: Annotated[
        int, typer.Option(metavar="N", min=0, help="Voxels shared by neighbouring tiles.")
    ] = 48,
    batch_size: Annotated[int, typer.Option(metavar="N", min=1, help="Tiles per pass.")] = 1,
    threads: Threads = None,
    ensemble: Ensemble = PassesName.AUTO,
    consistency: Consistency = ConsistencyName.AUTO,
    fallback: Annotated[
        bool,
        typer.Option(
            "--fallback/--no-fallback",
            help="Interpolate where the scan is smoother than any the weights know, and mend stray "
            "voxels first.",
        ),
    ] = True,
    labels: Annotated[
        LabelsName,
        typer.Option(help="Take the input for labels, whose voxels are repeated; auto looks."),
    ] = LabelsName.AUTO,
    dtype: Annotated[
        OutputDtype, typer.Option(help="Type of the stored numbers.")
    ] = OutputDtype.INPUT,
    overwrite: Annotated[
        bool, typer.Option("--overwrite/--no-overwrite", help="Replace files that exist.")
    ] = False,
    preview: Annotated[
        Path | None,
        typer.Option(
            metavar="PNG",
            callback=_check_png,
            help="Picture of input, B-spline and result on three planes.",
        ),
    ] = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Upscale one MRI volume."""
    if tile != "auto" and int(tile) <= overlap:
        raise typer.BadParameter(
            f"{tile} must exceed the overlap of {overlap}", param_hint="--tile"
        )
    with user_errors():
        from tdafd_cli.output import check_writable
        from tdafd_cli.volumes.nifti import check_target

        check_target(target, overwrite, source=source)  # before torch takes its seconds
        if preview is not None:
            check_writable(preview, overwrite)

        from tdafd_cli.inference.settings import InferenceSettings
        from tdafd_cli.inference.upscaling import upscale_file
        from tdafd_cli.weights.store import default_name, load_weights

        name = weights or default_name(scale or DEFAULT_SCALE)
        with download_bar(name, shown=not quiet) as progress:
            trained = load_weights(name, scale=scale, progress=progress)
        with progress_bar("Upscaling", unit="tiles", shown=not quiet) as progress:
            report = upscale_file(
                source,
                target,
                weights=trained,
                settings=InferenceSettings(
                    device=device,
                    precision=precision.value,
                    tile="auto" if tile == "auto" else int(tile),
                    overlap=overlap,
                    batch_size=batch_size,
                    threads=threads,
                    ensemble=ensemble.passes,
                    consistency=consistency.value,
                    fallback=fallback,
                    labels=labels.value,
                ),
                dtype=dtype.value,
                overwrite=overwrite,
                progress=progress,
            )
        if preview is not None:
            from tdafd_cli.pictures.preview import write_preview
            from tdafd_cli.volumes.nifti import read_volume

            low, high = read_volume(source), read_volume(target)
            write_preview(preview, low, high, name=report.weights, overwrite=overwrite)
    summary = report.to_dict() | {"preview": preview and str(preview)}
    _report(summary, quiet=quiet, as_json=as_json)


app.command()(train)
app.command()(benchmark)
app.add_typer(weights_app, name="weights")


def _report(summary: dict[str, Any], *, quiet: bool, as_json: bool) -> None:
    if not quiet:
        for note in summary["notes"]:
            typer.echo(f"note: {note}", err=True)
        for warning in summary["warnings"][:MOST_WARNINGS]:
            typer.echo(f"warning: {warning['sentence']}", err=True)
    if as_json:
        typer.echo(json.dumps(summary))
    elif not quiet:
        how = _method(summary)
        typer.echo(
            f"{summary['target']}: {size_text(summary['output_shape'])} voxels of "
            f"{size_text(summary['output_voxel_size'])} mm by {how[0]} in "
            f"{summary['seconds']['total']:.1f} s ({', '.join(how[1:])})"
        )


def _method(summary: dict[str, Any]) -> list[str]:
    """What made the voxels, then how."""
    passes, consistency = summary["ensemble"], summary["consistency"]
    if passes == 0:
        return ["interpolation alone", summary["device"]]
    return [
        summary["weights"],
        summary["device"],
        summary["precision"],
        f"{passes} pass{'es' if passes > 1 else ''}",
        *([] if consistency == "none" else [f"consistent with {consistency}"]),
    ]


def _terminate(number: int, frame: object) -> NoReturn:
    sys.exit(128 + number)
