"""The command `tdafd upscale`."""

from pathlib import Path
from typing import Annotated

import typer

from tdafd_cli.commands.folder import Search, is_for_folder, upscale_folder
from tdafd_cli.commands.options import (
    AsJson,
    Consistency,
    ConsistencyName,
    Ensemble,
    LabelsName,
    NormalisationName,
    OutputDtype,
    PartName,
    PassesName,
    Precision,
    Quiet,
    Threads,
    check_devices,
    check_png,
    check_shard,
    check_sources,
    check_tile,
    check_volumes,
    check_workers,
)
from tdafd_cli.commands.order import Order, loaded_weights, report
from tdafd_cli.commands.terminal import progress_bar, user_errors
from tdafd_cli.formats.selection import Selection
from tdafd_cli.inference.settings import InferenceSettings


def upscale(
    sources: Annotated[
        list[Path],
        typer.Argument(
            metavar="INPUT",
            callback=check_sources,
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
            f"{tile} must exceed the overlap of {overlap}", param_hint="--tile"
        )
    settings = InferenceSettings(
        device=device.partition(",")[0],
        precision=precision.value,
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
        scale=scale,
        weights=weights,
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
        from tdafd_cli.output import check_writable

        replaces = check_replaceable(  # before torch takes its seconds
            source, target, overwrite=order.overwrite, overwrite_scans=order.overwrite_scans
        )
        if preview is not None:
            check_writable(preview, order.overwrite)

        from tdafd_cli.inference.files import upscale_file

        trained = loaded_weights(order)
        with progress_bar("Upscaling", unit="tiles", shown=not quiet) as progress:
            result = upscale_file(
                source,
                target,
                weights=trained,
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
