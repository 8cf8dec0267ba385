"""What `tdafd upscale` is asked for each volume, and what it prints about it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import typer

from tdafd_cli.commands.weights import download_bar
from tdafd_cli.errors import size_text
from tdafd_cli.formats.selection import Selection
from tdafd_cli.inference.settings import InferenceSettings

if TYPE_CHECKING:
    from tdafd_cli.inference.upscaling import Obtain
    from tdafd_cli.sampling.plan import Request
    from tdafd_cli.weights.file import Weights

MOST_WARNINGS = 3  # lines for one volume; --json has all


@dataclass(frozen=True)
class Order:
    """Options that hold for each volume."""

    weights: str | None
    request: Request
    settings: InferenceSettings
    selection: Selection
    normalise: str
    dtype: str
    overwrite: bool
    overwrite_scans: bool
    quiet: bool
    as_json: bool


def obtainable(order: Order) -> Weights | Obtain:
    """Weights, missed before the scan is read where it does not decide which; else their source."""
    if order.weights is None and order.request.needs_the_scan:
        return partial(_obtained, order)
    return loaded_weights(order)


def loaded_weights(order: Order) -> Weights:
    """Weights that are asked for, whatever the scan, with a bar if they must be downloaded."""
    return _obtained(order, None if order.request.needs_the_scan else order.request.factors)


def _obtained(order: Order, factors: tuple[int, int, int] | None) -> Weights:
    """Weights by their name, or those that serve factors; downloaded if need be."""
    from tdafd_cli.weights.store import default_name, load_weights

    name = order.weights or default_name(factors)
    with download_bar(name, shown=not order.quiet) as progress:
        return load_weights(name, scale=factors, progress=progress)


def report(summary: dict[str, Any], *, quiet: bool, as_json: bool) -> None:
    """Print what was done with a volume."""
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
