"""The command `tdafd upscale`."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from tdafd_cli.commands.options import (
    AsJson,
    Backend,
    BackendName,
    Consistency,
    ConsistencyName,
    Device,
    Ensemble,
    LabelsName,
    OutputDtype,
    PassesName,
    Precision,
    Quiet,
    Threads,
    check_png,
    check_tile,
)
from tdafd_cli.commands.terminal import progress_bar, user_errors
from tdafd_cli.commands.weights import download_bar
from tdafd_cli.errors import size_text

MOST_WARNINGS = 3  # lines for one volume; --json has all


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
    backend: Backend = BackendName.AUTO,
    tile: Annotated[
        str,
        typer.Option(
            metavar="auto|N",
            callback=check_tile,
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
            help="Interpolate where the scan is smoother than any in training, and repair stray "
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
            callback=check_png,
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

        name = weights or default_name(scale)
        with download_bar(name, shown=not quiet) as progress:
            trained = load_weights(name, scale=scale, progress=progress)
        with progress_bar("Upscaling", unit="tiles", shown=not quiet) as progress:
            result = upscale_file(
                source,
                target,
                weights=trained,
                settings=InferenceSettings(
                    device=device,
                    precision=precision.value,
                    backend=backend.value,
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
        details = result.details
        if preview is not None:
            from dataclasses import replace

            from tdafd_cli.pictures.preview import write_preview

            name = details.weights
            write_preview(preview, result.low, result.high, name=name, overwrite=overwrite)
            details = replace(details, preview=str(preview))
    _report(details.to_dict(), quiet=quiet, as_json=as_json)


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
        *(["OpenVINO"] if summary["backend"] == "openvino" else []),
        summary["precision"],
        f"{passes} pass{'es' if passes > 1 else ''}",
        *([] if consistency == "none" else [f"consistent with {consistency}"]),
    ]
