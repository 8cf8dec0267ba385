"""The command `tdafd upscale`."""

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tdafd_cli.commands.folder import Search, is_for_folder, upscale_folder
from tdafd_cli.commands.options import (
    SCALES,
    AsJson,
    Backend,
    BackendName,
    Best,
    Consistency,
    ConsistencyName,
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
    check_devices,
    check_png,
    check_scale,
    check_shard,
    check_spacing,
    check_tile,
    check_volumes,
    check_workers,
    factors_given,
    preset,
    spacing_given,
)
from tdafd_cli.commands.order import Order, obtainable, report
from tdafd_cli.commands.terminal import progress_bar, user_errors
from tdafd_cli.formats.selection import Selection
from tdafd_cli.inference.settings import InferenceSettings

if TYPE_CHECKING:
    from tdafd_cli.sampling.plan import Request


def upscale(
    sources: Annotated[
        list[Path],
        typer.Argument(
            metavar="INPUT",
            help="NIfTI, Analyze, MGH, NRRD or MetaImage file, or a folder of DICOM files; several "
            "of them, folders of them, or - for names on standard input.",
        ),
    ],
    target: Annotated[
        Path,
        typer.Argument(
            metavar="OUTPUT",
            help="File to write: .nii.gz, .nii, .hdr, .mgz, .mgh, .nrrd, .nhdr, .mha or .mhd; a "
            "folder for several.",
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
    device: Annotated[
        str,
        typer.Option(
            metavar="auto|cpu|cuda[:N]|mps",
            callback=check_devices,
            help="Where to compute; auto takes an NVIDIA GPU if there is one. Several, as in "
            "cuda:0,cuda:1, share a folder.",
        ),
    ] = "auto",
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
        bool,
        typer.Option("--overwrite/--no-overwrite", help="Replace results of tdafd that exist."),
    ] = False,
    overwrite_scans: Annotated[
        bool, typer.Option("--overwrite-scans", help="Replace whatever exists, but the input.")
    ] = False,
    recursive: Annotated[
        bool, typer.Option("--recursive", "-r", help="Search folders to the bottom.")
    ] = False,
    pattern: Annotated[
        str, typer.Option(metavar="GLOB", help="Files to take of folders, as in '*_T1w.nii.gz'.")
    ] = "*",
    workers: Annotated[
        str,
        typer.Option(
            metavar="auto|N",
            callback=check_workers,
            help="Processes that share a folder; auto is one for each device.",
        ),
    ] = "auto",
    shard: Annotated[
        str | None,
        typer.Option(
            metavar="K/N", callback=check_shard, help="The K-th of N parts of a folder, from 1."
        ),
    ] = None,
    bids: Annotated[
        bool, typer.Option("--bids", help="Make derivatives of a BIDS data set's anat images.")
    ] = False,
    participant_label: Annotated[
        list[str] | None, typer.Option(metavar="LABEL", help="Of BIDS: one, or several times.")
    ] = None,
    suffix: Annotated[
        list[str] | None, typer.Option(metavar="SUFFIX", help="Of BIDS, as in T1w; repeatable.")
    ] = None,
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
    """Upscale an MRI volume, a series of volumes one after the other, or folders of them."""
    if tile != "auto" and int(tile) <= overlap:
        raise typer.BadParameter(
            f"{tile} is not above the overlap of {overlap}; lower --overlap", param_hint="--tile"
        )
    _check_grid(scale, spacing, slice_axis, slice_thickness, weights)
    ensemble, precision = preset(fast, best, ensemble, precision)
    settings = InferenceSettings(
        device=device.partition(",")[0],
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
    )
    order = Order(
        weights=weights,
        request=_request(scale, spacing, slice_axis, slice_thickness),
        settings=settings,
        selection=Selection(series, part and part.value, volumes),
        normalise=normalise.value,
        dtype=dtype.value,
        overwrite=overwrite,
        overwrite_scans=overwrite_scans,
        quiet=quiet,
        as_json=as_json,
    )
    search = Search(
        recursive, pattern, workers, shard, device, bids, participant_label or [], suffix or []
    )
    if is_for_folder(sources, target, search):
        if preview is not None:
            raise typer.BadParameter("is of one volume alone", param_hint="--preview")
        upscale_folder(sources, target, order, search)
    else:
        _upscale_one(sources[0], target, order, preview)


def _upscale_one(source: Path, target: Path, order: Order, preview: Path | None) -> None:
    quiet = order.quiet
    with user_errors():
        from tdafd_cli.batch.replacement import check_replaceable
        from tdafd_cli.formats.folders import check_source
        from tdafd_cli.output import check_writable

        check_source(source)
        replaces = check_replaceable(  # before torch takes its seconds
            source, target, overwrite=order.overwrite, overwrite_scans=order.overwrite_scans
        )
        if preview is not None:
            check_writable(preview, order.overwrite)

        from tdafd_cli.inference.files import upscale_file

        trained = obtainable(order)
        with progress_bar("Upscaling", unit="tiles", shown=not quiet) as progress:
            result = upscale_file(
                source,
                target,
                weights=trained,
                request=order.request,
                settings=order.settings,
                selection=order.selection,
                normalise=order.normalise,
                dtype=order.dtype,
                overwrite=replaces or order.overwrite,
                progress=progress,
            )
        details = result.details
        if preview is not None:
            from dataclasses import replace

            from tdafd_cli.pictures.preview import write_preview

            name = details.weights
            overwrite = order.overwrite
            write_preview(preview, result.low, result.high, name=name, overwrite=overwrite)
            details = replace(details, preview=str(preview))
    report(details.to_dict(), quiet=quiet, as_json=order.as_json)


def _request(
    scale: str | None,
    spacing: str | None,
    slice_axis: SliceAxisName | None,
    slice_thickness: float | None,
) -> "Request":
    from tdafd_cli.sampling.plan import request_for

    axis = slice_axis.value if slice_axis else None
    return request_for(factors_given(scale), spacing_given(spacing), axis, slice_thickness)


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
