"""The command `tdafd info`."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tdafd_cli.commands.options import AsJson, Device, Precision, Threads
from tdafd_cli.commands.terminal import user_errors
from tdafd_cli.errors import size_text

if TYPE_CHECKING:
    from tdafd_cli.evaluation.inspection import Inspection


def info(
    source: Annotated[Path, typer.Argument(metavar="SCAN", help="NIfTI volume.")],
    scale: Annotated[
        int | None,
        typer.Option(metavar="2|3|4", min=2, max=4, help="As for `tdafd upscale`. (default: 2)"),
    ] = None,
    weights: Annotated[
        str | None, typer.Option(metavar="NAME|PATH", help="As for `tdafd upscale`.")
    ] = None,
    device: Device = "auto",
    precision: Annotated[Precision, typer.Option(help="Of the network.")] = Precision.AUTO,
    threads: Threads = None,
    as_json: AsJson = False,
) -> None:
    """Tell what a scan is, and what `tdafd upscale` would make of it. Writes nothing."""
    with user_errors():
        from tdafd_cli.formats.files import read_volume
        from tdafd_cli.formats.folders import check_source

        check_source(source)
        volume = read_volume(source)

        from tdafd_cli.evaluation.inspection import inspect_volume
        from tdafd_cli.inference.settings import InferenceSettings
        from tdafd_cli.weights.store import default_name, load_weights

        found = inspect_volume(
            volume,
            load_weights(weights or default_name(scale), scale=scale),
            InferenceSettings(device=device, precision=precision.value, threads=threads),
        )
    if as_json:
        typer.echo(json.dumps({"source": str(source), **found.to_dict()}))
        return
    typer.echo(source)
    for name, text in _told(found):
        typer.echo(f"  {name:<12} {text}")


def _told(found: "Inspection") -> list[tuple[str, str]]:
    """Names and what to say of each, in the order in which a reader asks."""
    scaled = "" if (found.slope, found.intercept) == (1, 0) else ", scaled"
    least, greatest = found.intensities
    qform, sform = found.codes
    turned = f", {found.oblique_degrees:g} degrees off the axes" if found.oblique_degrees else ""
    lines = [
        ("shape", f"{size_text(found.shape)} voxels"),
        ("voxel size", f"{size_text(found.voxel_size)} mm"),
        ("resolution", _resolution(found)),
        ("field", f"{size_text(found.field_mm)} mm"),
        ("orientation", f"{found.orientation}{turned} (qform code {qform}, sform code {sform})"),
        ("intensities", f"{least:.6g} to {greatest:.6g}, stored as {found.stored}{scaled}"),
    ]
    lines += [("warning", each.sentence) for each in found.findings]
    size = f"{size_text(found.output_shape)} voxels of {size_text(found.output_voxel_size)} mm"
    return [
        *lines,
        (f"at x{found.scale}", f"{size} {_by(found)}"),
        ("time", f"about {_duration(found.seconds)}"),
        (
            "memory",
            f"about {_gigabytes(found.memory_bytes)} of {_gigabytes(found.free_memory_bytes)}",
        ),
    ]


def _resolution(found: "Inspection") -> str:
    held = f"{size_text(found.resolution_mm)} mm along I, J and K"
    if all(a <= 1.001 * b for a, b in zip(found.resolution_mm, found.voxel_size, strict=True)):
        return f"{held}: all that its voxels can hold"
    return f"{held}: less than its voxels could hold"


def _by(found: "Inspection") -> str:
    """What would make the voxels, and how."""
    if found.method == "labels":
        return "by repeating voxels, as of a label map"
    if found.method == "interpolation":
        return "by interpolation alone"
    run = found.execution
    how = (
        f"by {found.weights}, passes: {run.ensemble}, tiles: {run.tiles}, "
        f"on {run.device} in {run.precision}"
    )
    if found.method == "blend":
        return f"{how}, and {1 - found.network_share:.0%} interpolation"
    return how


def _duration(seconds: float) -> str:
    """Time in the unit that suits it.

    >>> _duration(0.4), _duration(42.3), _duration(200), _duration(9000)
    ('1 s', '42 s', '3 min', '2.5 h')
    """
    if seconds < 100:
        return f"{max(1, seconds):.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def _gigabytes(count: int) -> str:
    return f"{count / 1e9:.2g} GB"
