"""Series of volumes, as of fMRI and diffusion: upscaled one after the other, on one scale."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch

from tdafd_cli import __version__
from tdafd_cli.formats.files import check_target, stored_header, write_volumes
from tdafd_cli.formats.scan import Scan
from tdafd_cli.formats.sidecars import find_sidecars, write_sidecars
from tdafd_cli.inference.execution import Execution
from tdafd_cli.inference.prediction import BEYOND
from tdafd_cli.inference.result import Result, UpscaleReport, seconds_of
from tdafd_cli.inference.settings import InferenceSettings
from tdafd_cli.inference.tiling import Progress
from tdafd_cli.inference.upscaling import (
    Obtain,
    affine_of,
    obtained,
    planned,
    slices_told,
    upscaled,
)
from tdafd_cli.machine.memory import peak_memory
from tdafd_cli.sampling.plan import Plan, Request
from tdafd_cli.volumes.findings import Finding, label_findings
from tdafd_cli.volumes.intensity import IntensityRange, intensity_range
from tdafd_cli.volumes.labels import label_count
from tdafd_cli.volumes.nifti_header import regrid_header
from tdafd_cli.volumes.volume import Volume
from tdafd_cli.weights.file import Weights
from tdafd_cli.weights.store import serving

NORMALISATIONS = ("series", "volume")


@dataclass(frozen=True)
class _Survey:
    """What must be known of all volumes before the first is upscaled."""

    least: float
    greatest: float
    limits: IntensityRange
    are_labels: bool
    labels: int  # at most in a volume, where they were counted


@dataclass
class _Log:
    """What was done volume by volume, and how long it took."""

    numbers: list[int] = field(default_factory=list)
    executions: list[Execution] = field(default_factory=list)
    findings: list[tuple[Finding, ...]] = field(default_factory=list)
    first: tuple[Volume, Volume] | None = None
    read: float = 0.0
    network: float = 0.0


def upscale_series(
    scan: Scan,
    numbers: range,
    target: Path,
    *,
    weights: Weights | Obtain,
    request: Request | None = None,
    settings: InferenceSettings,
    normalise: str = "series",
    dtype: str = "input",
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Result:
    """Upscale volumes one after the other into one file, which appears whole or not at all.

    Where the first volume does not look like truncated k-space, none is made consistent with it.

    The volumes are read twice, and each is held alone: first for what must be known of all, then
    to be upscaled and written. Beside the first volume, which the result holds for a picture, no
    more than one is in memory. What lies beside the source is copied: see `sidecars`.

    Parameters
    ----------
    scan : Scan
    numbers : range
        Of the volumes that are meant.
    target : Path
        In a format that holds a series.
    weights, request, settings, dtype, overwrite
        As for `upscale_file`.
    normalise : {"series", "volume"}
        Whether one range of intensities stands for all volumes, from the least beginning of their
        own to the greatest end, or each has its own.
    progress : callable, optional
        Called after each tile with the number done and the number of all, of all volumes.

    Raises
    ------
    TdafdError
        In one line, whatever the reason; ``target`` is as it was then.
    """
    if normalise not in NORMALISATIONS:
        raise ValueError(f"normalise must be one of {', '.join(NORMALISATIONS)}")
    started = time.perf_counter()
    check_target(target, overwrite, source=scan.path)
    sidecars = find_sidecars(scan.path, target, numbers, scan.count, overwrite=overwrite)
    request, first = request or Request(), scan.only_volume(numbers[:1])
    plan = planned(first, request, weights)
    weights = serving(plan.factors, obtained(weights, plan))
    settings, told = slices_told(first, plan, request, settings)
    affine = affine_of(scan.affine, first.shape, plan)
    header = regrid_header(scan.header, plan.shape, np.linalg.solve(scan.affine, affine))
    del first
    survey = _survey(scan, numbers, settings)
    settings = replace(settings, labels="yes" if survey.are_labels else "no")
    header = stored_header(target, header, dtype, _room(survey), volumes=len(numbers))
    log = _Log(read=time.perf_counter() - started)
    limits = survey.limits if normalise == "series" else None
    highs = _highs(scan, numbers, weights, plan, settings, limits, progress, log)
    like = replace(scan, header=header, placed=affine)
    write_volumes(target, header, highs, like=like, mark=__version__)
    write_sidecars(sidecars)
    assert log.first is not None
    low, high = log.first
    execution = _joint_execution(log.executions)
    total = time.perf_counter() - started
    details = UpscaleReport(
        source=str(scan.path),
        target=str(target),
        scale=weights.scale,
        factors=plan.factors,
        resampling=plan.resampling,
        input_shape=(*low.shape, len(numbers)),
        output_shape=(*high.shape, len(numbers)),
        input_voxel_size=low.voxel_size,
        output_voxel_size=high.voxel_size,
        weights=weights.name,
        weights_sha256=weights.sha256,
        execution=execution,
        warnings=(
            *told,
            *label_findings(survey.labels),
            *_joint_findings(log.numbers, log.findings),
        ),
        seconds=seconds_of(log.read, log.network, total - log.read - log.network),
        peak_memory_bytes=peak_memory(torch.device(execution.device)),
        sidecars=tuple(str(sidecar.path) for sidecar in sidecars),
    )
    return Result(low, high, details, dtype)


def _survey(scan: Scan, numbers: range, settings: InferenceSettings) -> _Survey:
    limits: list[IntensityRange] = []
    extremes: list[float] = []
    labels: list[int] = []
    for volume in scan.volumes(numbers):
        extremes += [float(volume.data.min()), float(volume.data.max())]
        limits.append(intensity_range(volume.data))
        if settings.labels == "auto" and all(labels):
            labels.append(label_count(volume.data))
    widest = IntensityRange(min(each.low for each in limits), max(each.high for each in limits))
    found = bool(labels) and all(labels)
    are_labels = found or settings.labels == "yes"
    return _Survey(min(extremes), max(extremes), widest, are_labels, max(labels) if found else 0)


def _room(survey: _Survey) -> tuple[float, float]:
    """Intensities that are to be stored at most: see `prediction.BEYOND`."""
    margin = 0.0 if survey.are_labels else BEYOND * (survey.greatest - survey.least)
    lowest = survey.least - margin
    return (max(lowest, 0.0) if survey.least >= 0 else lowest), survey.greatest + margin


def _highs(
    scan: Scan,
    numbers: range,
    weights: Weights,
    plan: Plan,
    settings: InferenceSettings,
    limits: IntensityRange | None,
    progress: Progress | None,
    log: _Log,
) -> Iterator[np.ndarray]:
    """Upscaled volumes, each made when the one before was taken."""
    before = time.perf_counter()
    for index, low in enumerate(scan.volumes(numbers)):
        log.read += time.perf_counter() - before
        before = time.perf_counter()
        ahead = _progress_of(progress, index, len(numbers))
        high, execution, findings = upscaled(low, weights, settings, ahead, limits, plan)
        log.network += time.perf_counter() - before
        log.numbers.append(numbers[index])
        log.executions.append(execution)
        log.findings.append(findings)
        log.first = log.first or (low, high)
        if execution.consistency == "none":  # or volumes would differ for no reason of their own
            settings = replace(settings, consistency="none")
        yield high.data
        before = time.perf_counter()


def _progress_of(progress: Progress | None, index: int, count: int) -> Progress | None:
    """Progress over the tiles of one volume, told as that over the tiles of all."""
    if progress is None:
        return None
    return lambda done, total: progress(index * total + done, count * total)


def _joint_execution(executions: Sequence[Execution]) -> Execution:
    """How volumes were upscaled: as the one was in which the network had the least part."""
    least = min(executions, key=lambda each: each.network_share)
    most = max(executions, key=lambda each: each.ensemble)
    notes = dict.fromkeys(note for each in executions for note in each.notes)
    return replace(most, notes=tuple(notes), network_share=least.network_share, trust=least.trust)


def _joint_findings(
    numbers: Sequence[int], findings: Sequence[Sequence[Finding]]
) -> tuple[Finding, ...]:
    """One finding for each thing that was noticed, with the volumes that it was noticed in."""
    joint: dict[str, tuple[Finding, list[int]]] = {}
    for number, each in zip(numbers, findings, strict=True):
        for finding in each:
            joint.setdefault(finding.code, (finding, []))[1].append(number)
    return tuple(
        replace(
            finding,
            sentence=finding.sentence
            if len(found) == len(numbers)
            else f"{len(found)} of {len(numbers)} volumes, {found[0]} first: {finding.sentence}",
            figures={**finding.figures, "volumes": found},
        )
        for finding, found in joint.values()
    )
