"""Validation on whole volumes: a network against the best interpolation."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np

from tdafd_cli.evaluation.case import Case, degraded, reference
from tdafd_cli.evaluation.metrics import Scores, score
from tdafd_cli.formats.files import read_volume
from tdafd_cli.inference.prediction import predict_volume
from tdafd_cli.inference.settings import InferenceSettings
from tdafd_cli.inference.slices import predict_along
from tdafd_cli.networks.tdafd import TDAFD
from tdafd_cli.sampling.degradation import BENCHMARK_DEGRADATIONS
from tdafd_cli.sampling.factors import Factors
from tdafd_cli.sampling.interpolation import BASELINES, interpolate

VALIDATED_SLICES = ("thick-boxcar", "thick-gaussian")


@dataclass(frozen=True, eq=False)
class ValidationCase:
    """A case, and what the best interpolation makes of it."""

    case: Case
    baseline: str
    baseline_scores: Scores


def validation_cases(
    paths: Sequence[Path], scale: int | Factors, *, rank: int = 0, processes: int = 1
) -> Iterator[ValidationCase]:
    """Every volume under every benchmark degradation, with its best baseline's scores.

    For networks for the last axis alone the volumes are degraded along it, as they lie in the file.

    Of ``processes`` that validate together each gets the cases ``rank``, ``rank + processes``, ...
    """
    numbers = count()
    for path in paths:
        judged = reference(path.name, read_volume(path), scale)
        for kind in VALIDATED_SLICES if judged.factors[0] == 1 else BENCHMARK_DEGRADATIONS:
            if next(numbers) % processes == rank:
                yield with_baseline(degraded(judged, kind))


def with_baseline(case: Case) -> ValidationCase:
    """Score every baseline on a case and keep the best in foreground PSNR."""
    high, low = case.reference.high.numpy(), case.low_intensities()
    scores = {
        method: score(high, interpolate(low, case.factors, method).numpy(), case.reference.mask)
        for method in BASELINES
    }
    best = max(scores, key=lambda method: scores[method].psnr_foreground)
    return ValidationCase(case, best, scores[best])


def estimated(network: TDAFD, case: Case, settings: InferenceSettings) -> np.ndarray:
    """A network's estimate of a case on the reference's scale, as `tdafd upscale` would make it."""
    if min(case.factors) > 1:
        return case.intensities(predict_volume(network, case.low, settings, zero=case.zero)[0])
    axis = case.factors.index(max(case.factors))
    high, _ = predict_along(network, case.low, axis, settings, zero=case.zero)
    return case.intensities(high)


def validation_rows(
    cases: Sequence[ValidationCase], estimate: Callable[[Case], np.ndarray]
) -> list[dict[str, Any]]:
    """One row of scores per case, with the gain in foreground PSNR over the best baseline in dB."""
    rows = []
    for validated in cases:
        case, baseline = validated.case, validated.baseline_scores
        scores = score(case.reference.high.numpy(), estimate(case), case.reference.mask)
        rows.append(
            {
                "volume": case.reference.name,
                "degradation": case.degradation,
                **{name: round(value, 5) for name, value in asdict(scores).items()},
                "baseline": validated.baseline,
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
