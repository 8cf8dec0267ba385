"""Validation on whole volumes: a network against the best interpolation."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from tdafd_cli.degradation import BENCHMARK_DEGRADATIONS, degrade, divisible
from tdafd_cli.intensity import IntensityRange, denormalise, intensity_range, normalise
from tdafd_cli.interpolation import BASELINES, interpolate
from tdafd_cli.metrics import Scores, foreground_mask, score
from tdafd_cli.tiling import predict_tiled
from tdafd_cli.volume import read_volume

TILE = 64  # low voxels
OVERLAP = 16


@dataclass(frozen=True)
class ValidationCase:
    """One volume under one degradation, and what the best interpolation makes of it."""

    name: str
    degradation: str
    low: torch.Tensor  # (I, J, K), normalised by ``span``
    span: IntensityRange
    reference: np.ndarray
    mask: np.ndarray
    baseline: str
    baseline_scores: Scores


def validation_cases(paths: Sequence[Path], scale: int) -> Iterator[ValidationCase]:
    """Every volume under every benchmark degradation, with its best baseline's scores."""
    for path in paths:
        high = divisible(torch.from_numpy(np.asarray(read_volume(path).data, np.float32)), scale)
        mask = foreground_mask(high.numpy())
        for kind in BENCHMARK_DEGRADATIONS:
            low = degrade(high, scale, kind)
            scores = {
                name: score(high.numpy(), interpolate(low, scale, name).numpy(), mask)
                for name in BASELINES
            }
            best = max(scores, key=lambda name: scores[name].psnr_foreground)
            span = intensity_range(low.numpy())
            yield ValidationCase(
                name=path.name,
                degradation=kind,
                low=torch.from_numpy(normalise(low.numpy(), span)),
                span=span,
                reference=high.numpy(),
                mask=mask,
                baseline=best,
                baseline_scores=scores[best],
            )


def predict_case(
    network: nn.Module,
    case: ValidationCase,
    *,
    scale: int,
    align: int,
    autocast: torch.dtype | None,
) -> np.ndarray:
    """Estimate of a case on the reference's scale, in tiles as `tdafd upscale` makes it."""
    device = next(network.parameters()).device

    def predict(tiles: torch.Tensor) -> torch.Tensor:
        with torch.autocast(device.type, dtype=autocast, enabled=autocast is not None):
            out: torch.Tensor = network(tiles.contiguous(memory_format=torch.channels_last_3d))
        return out

    high = predict_tiled(
        predict, case.low.to(device), scale=scale, tile=TILE, overlap=OVERLAP, align=align
    )
    estimate: np.ndarray = denormalise(high.cpu().numpy(), case.span)
    clipped: np.ndarray = np.maximum(estimate, case.reference.min())
    return clipped


def validation_rows(
    cases: Sequence[ValidationCase], estimate: Callable[[ValidationCase], np.ndarray]
) -> list[dict[str, Any]]:
    """One row of scores per case, with the gain in foreground PSNR over the best baseline in dB."""
    rows = []
    for case in cases:
        scores = score(case.reference, estimate(case), case.mask)
        baseline = case.baseline_scores
        rows.append(
            {
                "volume": case.name,
                "degradation": case.degradation,
                **{name: round(value, 5) for name, value in asdict(scores).items()},
                "baseline": case.baseline,
                "baseline_psnr_foreground": round(baseline.psnr_foreground, 5),
                "baseline_ssim_foreground": round(baseline.ssim_foreground, 5),
                "gain": round(scores.psnr_foreground - baseline.psnr_foreground, 5),
            }
        )
    return rows


def mean_gains(rows: Sequence[dict[str, Any]]) -> dict[str, float]:
    """Mean gain in dB for each degradation."""
    return {
        kind: round(float(np.mean([row["gain"] for row in rows if row["degradation"] == kind])), 4)
        for kind in dict.fromkeys(row["degradation"] for row in rows)
    }
