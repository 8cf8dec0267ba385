"""Score weights on unusual scans: smooth, interpolated, masked, spiked, quantised.

A central box of a volume is changed in one way after the other, degraded like any volume, upscaled
as `tdafd upscale` does, and judged against what it was before the degradation: gain in foreground
PSNR over the best of trilinear, B-spline and sinc, and how far the result lies beyond the truth's
range. Hot voxels, dropped slices and zero filling change the degraded volume, not the truth.

    python studies/odd_inputs.py VOLUME --weights tdafd-x2 --weights OTHER.safetensors

Give a training or validation volume: what this shows may guide design and training.
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Annotated

import numpy as np
import torch
import typer
from scipy import ndimage

from tdafd_cli.evaluation.case import degraded, reference
from tdafd_cli.evaluation.metrics import score
from tdafd_cli.evaluation.validation import ValidationCase, with_baseline
from tdafd_cli.formats.files import read_volume
from tdafd_cli.inference.settings import InferenceSettings
from tdafd_cli.inference.upscaling import upscale_volume
from tdafd_cli.sampling.degradation import BENCHMARK_DEGRADATIONS
from tdafd_cli.sampling.matrices import apply_matrices, fourier_matrix
from tdafd_cli.volumes.grid import regridded
from tdafd_cli.volumes.intensity import intensity_range, normalise
from tdafd_cli.volumes.volume import Volume
from tdafd_cli.weights.store import load_weights

EDGE = 144  # high voxels along each axis of the box that is judged
SEED = 0
SLICES_APART = 24  # low slices from one that is dropped to the next

Change = Callable[[np.ndarray], np.ndarray]


def zero_filled(data: np.ndarray, factor: float) -> np.ndarray:
    """Magnitude of a volume whose k-space was cut to a part along each axis, and filled up."""
    kept = [round(n / factor) for n in data.shape]
    cut = [fourier_matrix(n, m) for n, m in zip(data.shape, kept, strict=True)]
    filled = [fourier_matrix(m, n) for n, m in zip(data.shape, kept, strict=True)]
    volume = torch.from_numpy(np.asarray(data, np.float64))
    return np.abs(apply_matrices(apply_matrices(volume, cut), filled).numpy())


def ellipsoid(data: np.ndarray, softness: float) -> np.ndarray:
    """A lone ellipsoid in the volume's place, the width of its edge as a part of its size."""
    i, j, k = np.meshgrid(*(np.linspace(-1, 1, n) for n in data.shape), indexing="ij")
    radius = np.sqrt((i / 0.6) ** 2 + (j / 0.7) ** 2 + (k / 0.5) ** 2)
    return 1 / (1 + np.exp(np.clip((radius - 1) / softness, -50, 50)))


def probability(data: np.ndarray) -> np.ndarray:
    """Probability of being bright."""
    return 1 / (1 + np.exp(-20 * (ndimage.gaussian_filter(data, 1) - 0.4)))


def resampled(data: np.ndarray, order: int) -> np.ndarray:
    """Averaged to voxels twice as long and interpolated back: 0 nearest, 1 linear, 3 cubic."""
    blurred = ndimage.uniform_filter(data, 2, origin=-1)[::2, ::2, ::2]
    finer = ndimage.zoom(blurred, 2, order=order, grid_mode=True, mode="nearest")
    i, j, k = data.shape
    return finer[:i, :j, :k]


def noisy(data: np.ndarray, sigma: float) -> np.ndarray:
    """Rician noise."""
    real, imaginary = np.random.default_rng(SEED).normal(0, sigma, (2, *data.shape))
    return np.hypot(data + real, imaginary)


def spiked(low: np.ndarray) -> np.ndarray:
    """One voxel in a hundred thousand, and at least one, a thousand times the maximum."""
    low, rng = low.copy(), np.random.default_rng(SEED)
    low.flat[rng.integers(low.size, size=max(1, low.size // 10**5))] = 1000 * low.max()
    return low


def sliced(low: np.ndarray) -> np.ndarray:
    """Slices along K lost."""
    low = low.copy()
    low[:, :, SLICES_APART // 2 :: SLICES_APART] = 0
    return low


TRUTHS: MappingProxyType[str, Change] = MappingProxyType(
    {
        "ordinary": lambda data: data,
        "soft ellipsoid": lambda data: ellipsoid(data, 0.05),
        "sharp ellipsoid": lambda data: ellipsoid(data, 0.002),
        "smoothed by 2 voxels": lambda data: ndimage.gaussian_filter(data, 2),
        "smoothed by 4 voxels": lambda data: ndimage.gaussian_filter(data, 4),
        "zero-filled from a half": lambda data: zero_filled(data, 2),
        "zero-filled from a fifth": lambda data: zero_filled(data, 5),
        "interpolated linearly": lambda data: resampled(data, 1),
        "interpolated by splines": lambda data: resampled(data, 3),
        "interpolated by nearest": lambda data: resampled(data, 0),
        "rotated by 10 degrees": lambda data: ndimage.rotate(data, 10, reshape=False, order=1),
        "median filtered": lambda data: ndimage.median_filter(data, 3),
        "cubed": lambda data: np.clip(data, 0, None) ** 3,
        "logarithm": lambda data: np.log1p(10 * np.clip(data, 0, None)),
        "inverted": lambda data: 1 - np.clip(data, 0, 1),
        "binary mask": lambda data: np.where(ndimage.gaussian_filter(data, 1) > 0.3, 1.0, 0.0),
        "labels": lambda data: np.digitize(data, (0.1, 0.3, 0.5, 0.7)).astype(float),
        "probability map": probability,
        "16 grey levels": lambda data: np.rint(15 * np.clip(data, 0, 1)) / 15,
        "like CT": lambda data: 1200 * np.sqrt(np.clip(data, 0, 1)) - 1000,
        "noise of 10 %": lambda data: noisy(data, 0.1),
        "noise alone": lambda data: noisy(0 * data, 1.0),
    }
)
"""What becomes of a volume, its tissue from 0 to about 1, before it is degraded."""
LOWS: MappingProxyType[str, Change] = MappingProxyType(
    {
        "hot voxels": spiked,
        "dropped slices": sliced,
        "zero-filled by the scanner": lambda low: zero_filled(low, 2),
    }
)
"""What becomes of a degraded volume; the truth stays."""


def box(volume: Volume, edge: int) -> Volume:
    """A box of at most ``edge`` voxels along each axis from the middle, its intensities normal."""
    i, j, k = (slice(start := max(0, (n - edge) // 2), start + edge) for n in volume.shape)
    data = np.ascontiguousarray(volume.data[i, j, k])
    return regridded(volume, normalise(data, intensity_range(data)), volume.affine)


def judged(volume: Volume, kind: str, degradation: str, scale: int) -> ValidationCase:
    """Case of one kind of input, beside what the best interpolation makes of it."""
    truth = TRUTHS.get(kind, TRUTHS["ordinary"])(volume.data).astype(np.float32)
    case = degraded(reference(kind, regridded(volume, truth, volume.affine), scale), degradation)
    if kind in LOWS:
        low = LOWS[kind](case.low_intensities().numpy()).astype(np.float32)
        span = intensity_range(low)
        normal = torch.from_numpy(normalise(low, span))
        case = replace(case, low=normal, span=span, low_is_positive=bool(low.min() >= 0))
    return with_baseline(case)


def judgement(validated: ValidationCase, estimate: np.ndarray) -> tuple[float, float]:
    """Gain in dB, and the range's part by which the estimate lies beyond the truth."""
    truth, mask = validated.case.reference.high.numpy(), validated.case.reference.mask
    gain = score(truth, estimate, mask).psnr_foreground - validated.baseline_scores.psnr_foreground
    beyond = max(estimate.max() - truth.max(), truth.min() - estimate.min()) / np.ptp(truth)
    return float(gain), float(beyond)


def main(
    source: Annotated[Path, typer.Argument(help="A sharp volume.")],
    weights: Annotated[list[str], typer.Option(help="Names or paths, of one scale.")],
    kinds: Annotated[str, typer.Option(help="Names, with commas between; all by default.")] = "",
    degradations: Annotated[str, typer.Option(help="With commas between.")] = ",".join(
        BENCHMARK_DEGRADATIONS
    ),
    edge: Annotated[int, typer.Option(help="High voxels along each axis of the box.")] = EDGE,
    precision: Annotated[str, typer.Option(help="fp32, bf16, fp16 or auto.")] = "auto",
    ensemble: Annotated[
        int, typer.Option(help="Passes over mirror images; 0 for the default.")
    ] = 0,
    threads: Annotated[int, typer.Option(help="CPU threads.")] = 1,
    fallback: Annotated[bool, typer.Option(help="As of tdafd upscale.")] = True,
) -> None:
    """Print PSNR of the best interpolation, gain and overshoot of each file of weights."""
    torch.set_num_threads(threads)
    settings = InferenceSettings(
        "cpu", precision, threads=threads, ensemble=ensemble or "auto", fallback=fallback
    )
    loaded = [load_weights(name) for name in weights]
    scale, volume = loaded[0].scale, box(read_volume(source), edge)
    for kind in kinds.split(",") if kinds else (*TRUTHS, *LOWS):
        for degradation in degradations.split(","):
            validated = judged(volume, kind, degradation, scale)
            told = [
                judgement(validated, upscale_volume(validated.case.low_volume(), w, settings).data)
                for w in loaded
            ]
            best = f"{validated.baseline} {validated.baseline_scores.psnr_foreground:.2f}"
            row = " | ".join(f"{gain:+.2f} | {beyond:+.0%}" for gain, beyond in told)
            print(f"| x{scale} | {kind} | {degradation} | {best} | {row} |", flush=True)


if __name__ == "__main__":
    typer.run(main)
