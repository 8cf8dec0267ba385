"""The command `tdafd upscale`."""

import json
import math
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tdafd_cli.commands.options import (
    SCALES,
    AsJson,
    Backend,
    BackendName,
    Best,
    Consistency,
    ConsistencyName,
    Device,
    Ensemble,
    Fast,
    LabelsName,
    NormalisationName,
    OutputDtype,
    PartName,
    PassesName,
    Precision,
    Quiet,
    SliceAxisName,
    Threads,
    check_png,
    check_scale,
    check_spacing,
    check_tile,
    check_volumes,
    factors_given,
    preset,
    spacing_given,
)
from tdafd_cli.commands.terminal import progress_bar, user_errors
from tdafd_cli.commands.weights import download_bar
from tdafd_cli.errors import size_text

if TYPE_CHECKING:
    from tdafd_cli.inference.upscaling import Obtain
    from tdafd_cli.sampling.plan import Request
    from tdafd_cli.weights.file import Weights

MOST_WARNINGS = 3  # lines for one volume; --json has all


def upscale(
    source: Annotated[
        Path,
        typer.Argument(
            metavar="INPUT",
            help="NIfTI, Analyze, MGH, NRRD or MetaImage file, or a folder of DICOM files.",
        ),
    ],
    target: Annotated[
        Path,
        typer.Argument(
            metavar="OUTPUT",
            help="File to write: .nii.gz, .nii, .hdr, .mgz, .mgh, .nrrd, .nhdr, .mha or .mhd.",
        ),
    ],
    scale: Annotated[
        str | None,
        typer.Option(
            metavar="N|IxJxK",
            callback=check_scale,
            help="New voxels per voxel along each axis, 2 to 4; or 2 to 6 along one axis alone, as "
            "in 1x1x4. (default: that of the weights, or 2)",
        ),
    ] = None,
    spacing: Annotated[
        str | None,
        typer.Option(
            metavar="MM|MMxMMxMM",
            callback=check_spacing,
            help="Voxel size to reach, in place of --scale: 1 makes slices of 4 mm isotropic. Axes "
            "that are fine enough stay as they are.",
        ),
    ] = None,
    slice_axis: Annotated[
        SliceAxisName | None,
        typer.Option(
            case_sensitive=False,
            help="Make this axis finer alone. (default: all, or with --spacing the coarse one)",
        ),
    ] = None,
    slice_thickness: Annotated[
        float | None,
        typer.Option(
            metavar="MM",
            help="Thickness of slices, if other than their distance. (default: of the JSON file "
            "beside the scan)",
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
        int, typer.Option(metavar="N", min=0, max=256, help="Voxels shared by neighbouring tiles.")
    ] = 48,
    batch_size: Annotated[int, typer.Option(metavar="N", min=1, help="Tiles per pass.")] = 1,
    threads: Threads = None,
    ensemble: Ensemble = PassesName.AUTO,
    fast: Fast = False,
    best: Best = False,
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
    series: Annotated[
        str | None,
        typer.Option(metavar="NUMBER|UID", help="Which DICOM series of a folder of several."),
    ] = None,
    part: Annotated[
        PartName | None, typer.Option(help="Of complex numbers, which are refused without it.")
    ] = None,
    volumes: Annotated[
        str,
        typer.Option(
            metavar="N|N:N",
            callback=check_volumes,
            help="Which volumes of a series, from 0, as in 0:10. (default: all)",
        ),
    ] = ":",
    normalise: Annotated[
        NormalisationName,
        typer.Option(help="Whether all volumes of a series share one range of intensities."),
    ] = NormalisationName.SERIES,
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
    """Upscale an MRI volume, or a series of volumes one after the other."""
    if tile != "auto" and int(tile) <= overlap:
        raise typer.BadParameter(
            f"{tile} is not above the overlap of {overlap}; lower --overlap", param_hint="--tile"
        )
    _check_grid(scale, spacing, slice_axis, slice_thickness, weights)
    ensemble, precision = preset(fast, best, ensemble, precision)
    with user_errors():
        from tdafd_cli.formats.files import check_target
        from tdafd_cli.formats.folders import check_source
        from tdafd_cli.output import check_writable

        check_source(source)
        check_target(target, overwrite, source=source)  # before torch takes its seconds
        if preview is not None:
            check_writable(preview, overwrite)

        from tdafd_cli.formats.selection import Selection
        from tdafd_cli.inference.files import upscale_file
        from tdafd_cli.inference.settings import InferenceSettings

        request = _request(scale, spacing, slice_axis, slice_thickness)
        trained = _weights(weights, request, quiet=quiet)
        with progress_bar("Upscaling", unit="tiles", shown=not quiet) as progress:
            result = upscale_file(
                source,
                target,
                weights=trained,
                request=request,
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
                selection=Selection(series, part and part.value, volumes),
                normalise=normalise.value,
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


def _request(
    scale: str | None,
    spacing: str | None,
    slice_axis: SliceAxisName | None,
    slice_thickness: float | None,
) -> "Request":
    from tdafd_cli.sampling.plan import request_for

    axis = slice_axis.value if slice_axis else None
    return request_for(factors_given(scale), spacing_given(spacing), axis, slice_thickness)


def _weights(weights: str | None, request: "Request", *, quiet: bool) -> "Weights | Obtain":
    """Weights, missed before the scan is read where it does not decide which; else their source."""
    obtain = partial(_obtained, weights, quiet=quiet)
    if weights is None and request.needs_the_scan:
        return obtain
    return obtain(None if request.needs_the_scan else request.factors)


def _obtained(
    weights: str | None, factors: tuple[int, int, int] | None, *, quiet: bool
) -> "Weights":
    """Weights by their name, or those that serve factors; downloaded if need be."""
    from tdafd_cli.weights.store import default_name, load_weights

    name = weights or default_name(factors)
    with download_bar(name, shown=not quiet) as progress:
        return load_weights(name, scale=factors, progress=progress)


def _check_grid(
    scale: str | None,
    spacing: str | None,
    slice_axis: SliceAxisName | None,
    slice_thickness: float | None,
    weights: str | None,
) -> None:
    """Refuse options that contradict each other as usage errors."""
    factors = factors_given(scale)
    if scale is not None and spacing is not None:
        raise typer.BadParameter("give --scale or --spacing, not both", param_hint="--spacing")
    if slice_axis is not None and not (scale or spacing or weights):
        raise typer.BadParameter("add --scale or --spacing", param_hint="--slice-axis")
    if factors is not None and slice_axis is None and min(factors) == max(factors) > max(SCALES):
        raise typer.BadParameter(
            f"{scale} is for one axis alone: use 1x1x{scale}, or add --slice-axis",
            param_hint="--scale",
        )
    if factors is not None and slice_axis is not None and len(set(factors)) > 1:
        raise typer.BadParameter(
            f"{scale} names the axis already; leave one of the two out", param_hint="--slice-axis"
        )
    if slice_thickness is not None and not 0 < slice_thickness < math.inf:
        raise typer.BadParameter("must be above 0 mm", param_hint="--slice-thickness")


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
