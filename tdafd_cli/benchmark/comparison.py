"""Methods compared over volumes: means, bootstrap intervals, and a paired test."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

METRICS = ("psnr_foreground", "ssim_foreground", "psnr", "ssim")
DECISIVE = "psnr_foreground"
"""Metric by which the best baseline is chosen and methods are tested."""

TEST = "Wilcoxon signed-rank, exact, two-sided, on foreground PSNR against the best baseline"
INTERVAL = "95 % percentile bootstrap over volumes, 10,000 resamples"
RESAMPLES = 10_000
LEVEL = 0.95


@dataclass(frozen=True)
class Row:
    """What a method scored on one case.

    Attributes
    ----------
    volume, degradation, method : str
    psnr, psnr_foreground : float
        In dB.
    ssim, ssim_foreground : float
    seconds : float
    peak_memory_bytes : int
    """

    volume: str
    degradation: str
    method: str
    psnr: float
    ssim: float
    psnr_foreground: float
    ssim_foreground: float
    seconds: float
    peak_memory_bytes: int


@dataclass(frozen=True)
class Summary:
    """What a method scored over all volumes under one degradation.

    Attributes
    ----------
    degradation, method : str
    volumes : int
    means : dict of str to float
        Of every metric.
    intervals : dict of str to (low, high)
        95 % bootstrap interval of every mean; empty for fewer than two volumes.
    baseline : str
        The interpolation with the highest mean foreground PSNR.
    gain : float
        Mean foreground PSNR over the baseline's, on the volumes that both upscaled, in dB.
    p_value : float, optional
        Of the paired test against the baseline; None for it and for fewer than two volumes.
    seconds : float
        Mean.
    peak_memory_bytes : int
        Largest.
    """

    degradation: str
    method: str
    volumes: int
    means: dict[str, float]
    intervals: dict[str, tuple[float, float]]
    baseline: str
    gain: float
    p_value: float | None
    seconds: float
    peak_memory_bytes: int


def summaries(rows: Sequence[Row], baselines: Sequence[str], *, seed: int) -> list[Summary]:
    """One summary per degradation and method, in the order in which they appear."""
    found = []
    for kind in dict.fromkeys(row.degradation for row in rows):
        of_kind = [row for row in rows if row.degradation == kind]
        methods = dict.fromkeys(row.method for row in of_kind)
        by_method = {name: [row for row in of_kind if row.method == name] for name in methods}
        best = max(
            (name for name in by_method if name in baselines),
            key=lambda name: _mean(by_method[name], DECISIVE),
        )
        found += [_summary(of, by_method[best], seed=seed) for of in by_method.values()]
    return found


def bootstrap_interval(values: Sequence[float], *, seed: int) -> tuple[float, float]:
    """95 % percentile interval of the mean, the same for the same seed.

    >>> bootstrap_interval([1.0, 1.0, 1.0], seed=0)
    (1.0, 1.0)
    """
    sample = np.asarray(values, np.float64)
    drawn = np.random.default_rng(seed).integers(sample.size, size=(RESAMPLES, sample.size))
    low, high = np.quantile(sample[drawn].mean(axis=1), [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def paired_p_value(values: Sequence[float], others: Sequence[float]) -> float:
    """Two-sided P value of a paired test: Wilcoxon's signed ranks, exact.

    Equal pairs are left out; with n pairs it is never below 2 / 2**n.

    >>> paired_p_value([1, 2, 3, 4, 5], [0, 0, 0, 0, 0])
    0.0625
    """
    differences = np.subtract(values, others, dtype=np.float64)
    differences = differences[differences != 0]
    if differences.size == 0:
        return 1.0
    return float(stats.wilcoxon(differences, method="exact").pvalue)


def _summary(rows: Sequence[Row], baseline: Sequence[Row], *, seed: int) -> Summary:
    theirs = {row.volume: getattr(row, DECISIVE) for row in baseline}
    pairs = [(getattr(row, DECISIVE), theirs[row.volume]) for row in rows if row.volume in theirs]
    several = len(rows) > 1
    tested = len(pairs) > 1 and rows[0].method != baseline[0].method
    return Summary(
        degradation=rows[0].degradation,
        method=rows[0].method,
        volumes=len(rows),
        means={metric: _mean(rows, metric) for metric in METRICS},
        intervals={
            metric: bootstrap_interval([getattr(row, metric) for row in rows], seed=seed)
            for metric in METRICS
            if several
        },
        baseline=baseline[0].method,
        gain=float(np.mean([ours - other for ours, other in pairs])) if pairs else float("nan"),
        p_value=paired_p_value(*zip(*pairs, strict=True)) if tested else None,
        seconds=_mean(rows, "seconds"),
        peak_memory_bytes=max(row.peak_memory_bytes for row in rows),
    )


def _mean(rows: Sequence[Row], metric: str) -> float:
    return float(np.mean([getattr(row, metric) for row in rows]))
