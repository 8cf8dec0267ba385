"""Score weights on volumes that are unlike their training data: other contrasts, small boxes.

No volume of another kind is needed. Tissue of T1-weighted volumes is given the intensities that it
has, roughly, in other contrasts, and a small box is cut from the middle; each is then degraded and
judged like any volume, in one pass without consistency, beside the best interpolation.

    python studies/unlike_training.py VOLUMES weights/tdafd-x3.safetensors OTHER.safetensors

Give validation volumes: what this shows may guide the training.
"""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Annotated

import numpy as np
import torch
import typer

from tdafd_cli.evaluation.case import degraded, reference
from tdafd_cli.evaluation.validation import estimated, mean_gains, validation_rows, with_baseline
from tdafd_cli.formats.files import read_volume
from tdafd_cli.formats.folders import volume_paths
from tdafd_cli.inference.settings import InferenceSettings
from tdafd_cli.sampling.degradation import BENCHMARK_DEGRADATIONS
from tdafd_cli.volumes.grid import regridded
from tdafd_cli.volumes.intensity import intensity_range, normalise
from tdafd_cli.volumes.volume import Volume
from tdafd_cli.weights.store import load_weights

EDGE, SMALL_EDGE = 40, 16  # low voxels along each axis of the box that is judged
CONTRASTS = MappingProxyType(
    {
        "T1": ((0.0, 0.0), (2.0, 2.0)),
        "like T2": ((0.0, 0.0), (0.12, 1.0), (0.3, 0.9), (0.6, 0.55), (0.9, 0.3), (1.2, 0.35)),
        "like PD": ((0.0, 0.0), (0.2, 0.8), (0.6, 1.0), (1.0, 0.8), (1.2, 0.7)),
        "like FLAIR": ((0.0, 0.0), (0.25, 0.15), (0.55, 0.9), (0.75, 1.0), (1.0, 0.7)),
    }
)
"""Intensities of T1-weighted tissue, from 0 to about 1, and what they become; linear in between."""


def remapped(volume: Volume, contrast: str) -> Volume:
    """The volume with its intensities normalised and given another contrast."""
    before, after = zip(*CONTRASTS[contrast], strict=True)
    data = normalise(volume.data, intensity_range(volume.data))
    return regridded(volume, np.interp(data, before, after).astype(np.float32), volume.affine)


def middle(volume: Volume, edge: int) -> Volume:
    """A box of at most ``edge`` voxels along each axis from the middle of the volume."""
    i, j, k = (slice(start := max(0, (n - edge) // 2), start + edge) for n in volume.shape)
    return regridded(volume, np.ascontiguousarray(volume.data[i, j, k]), volume.affine)


def kinds(scale: int) -> Iterator[tuple[str, str, int]]:
    """Name, contrast and edge in high voxels of every kind of volume that is judged."""
    for contrast in CONTRASTS:
        yield contrast, contrast, EDGE * scale
    for contrast in ("T1", "like T2"):
        yield f"{contrast}, small", contrast, SMALL_EDGE * scale


def main(
    volumes: Annotated[Path, typer.Argument(help="Folder of T1-weighted volumes.")],
    weights: Annotated[list[Path], typer.Argument(help="Weights of one scale.")],
    threads: Annotated[int, typer.Option(help="CPU threads.")] = 1,
) -> None:
    """Print the mean gain in foreground PSNR of each file of weights on each kind of volume."""
    torch.set_num_threads(threads)
    loaded = [load_weights(path) for path in weights]
    scale, networks = loaded[0].scale, [each.network() for each in loaded]
    settings = InferenceSettings("cpu", "bf16", threads=threads, ensemble=1, consistency="none")
    paths = volume_paths(volumes)
    for kind, contrast, edge in kinds(scale):
        cases = []
        for path in paths:
            volume = middle(remapped(read_volume(path), contrast), edge)
            judged = reference(path.name, volume, scale)
            cases += [with_baseline(degraded(judged, name)) for name in BENCHMARK_DEGRADATIONS]
        gains = [
            mean_gains(validation_rows(cases, partial(estimated, network, settings=settings)))
            for network in networks
        ]
        for degradation in BENCHMARK_DEGRADATIONS:
            told = " ".join(f"{each[degradation]:+.2f}" for each in gains)
            print(f"x{scale} | {kind} | {degradation} | {told}", flush=True)


if __name__ == "__main__":
    typer.run(main)
