"""Inspection of a scan: what it is, what it truly holds, and what upscaling would do with it."""

import time
from dataclasses import asdict, dataclass, replace
from typing import Any

import nibabel as nib
import numpy as np
import torch

from tdafd_cli.inference.budget import Job, planned_execution, room, tile_edges, tile_memory
from tdafd_cli.inference.execution import WITHOUT_NETWORK, Execution
from tdafd_cli.inference.prediction import predict_volume
from tdafd_cli.inference.settings import InferenceSettings
from tdafd_cli.inference.trust import Trust, trust_findings, trust_in
from tdafd_cli.machine.devices import choose_device, choose_precision, threads_limited
from tdafd_cli.machine.memory import free_memory
from tdafd_cli.sampling.spectrum import spectral_falloff
from tdafd_cli.volumes.defects import find_defects, mended
from tdafd_cli.volumes.findings import Finding, label_findings, noise_findings, volume_findings
from tdafd_cli.volumes.grid import upscaled_affine
from tdafd_cli.volumes.intensity import intensity_range, normalise
from tdafd_cli.volumes.labels import label_count
from tdafd_cli.volumes.nifti_header import slope_intercept
from tdafd_cli.volumes.volume import Volume
from tdafd_cli.weights.file import Weights

PROBE_EDGE = 48
"""Low voxels along each edge of what is upscaled to see how fast the machine is."""
FILE_VOXELS_PER_SECOND = 1.5e7
"""High voxels that are normalised, blended, made consistent, packed and written in a second, on one
core of 2.6 GHz; the example head takes 0.9 s for 6.9 million besides its tiles."""


@dataclass(frozen=True)
class Inspection:
    """What a scan is, and what would be made of it.

    Attributes
    ----------
    shape, voxel_size, field_mm : (I, J, K)
        Voxels; millimetres.
    orientation : str
        Where I, J and K lead, as in "RAS".
    oblique_degrees : float
        Largest angle between a voxel axis and the nearest axis of the world.
    codes : (qform, sform)
    stored : str
        Type of the numbers in the file.
    slope, intercept : float
        Which make intensities of them.
    intensities : (least, greatest)
    resolution_mm : (I, J, K)
        What the scan holds: its voxel size, or more where it was interpolated or smoothed.
    findings : tuple of Finding
    method : {"network", "blend", "interpolation", "labels"}
        What would make the result's voxels.
    network_share : float
    weights : str
    scale : int
    output_shape, output_voxel_size : (I, J, K)
    execution : Execution
        Device, precision, tiles and passes.
    seconds : float
        About how long it would take, from a probe of the network on this machine.
    memory_bytes, free_memory_bytes : int
        About how much it would take beside the program, and what there is.
    """

    shape: tuple[int, ...]
    voxel_size: tuple[float, ...]
    field_mm: tuple[float, ...]
    orientation: str
    oblique_degrees: float
    codes: tuple[int, int]
    stored: str
    slope: float
    intercept: float
    intensities: tuple[float, float]
    resolution_mm: tuple[float, ...]
    findings: tuple[Finding, ...]
    method: str
    network_share: float
    weights: str
    scale: int
    output_shape: tuple[int, ...]
    output_voxel_size: tuple[float, ...]
    execution: Execution
    seconds: float
    memory_bytes: int
    free_memory_bytes: int

    def to_dict(self) -> dict[str, Any]:
        """All of it as plain values."""
        return asdict(self)


def inspect_volume(
    volume: Volume, weights: Weights, settings: InferenceSettings | None = None
) -> Inspection:
    """Look at a scan as `upscale_file` does, and upscale no more of it than a small cube.

    Raises
    ------
    DeviceError
        The settings ask for what this machine does not have.
    """
    settings = settings or InferenceSettings()
    labels = label_count(volume.data) if settings.labels == "auto" else 0
    defects = find_defects(volume.data)
    good = mended(volume.data, defects)
    low = torch.from_numpy(normalise(good, intensity_range(good)))
    trust = trust_in(spectral_falloff(low[None, None])[0], volume.shape, weights.scale)
    share = trust.share if settings.fallback else 1.0
    findings: tuple[Finding, ...] = (
        *trust_findings(trust, volume.voxel_size, share),
        *noise_findings(low.numpy()),
        *volume_findings(volume, defects),
    )
    if labels or settings.labels == "yes":
        share, findings = 0.0, label_findings(labels)
    execution, seconds, memory = _plan(low, weights, settings, share)
    affine = upscaled_affine(volume.affine, weights.scale)
    slope, intercept = slope_intercept(volume.header)
    return Inspection(
        shape=volume.shape,
        voxel_size=volume.voxel_size,
        field_mm=tuple(n * s for n, s in zip(volume.shape, volume.voxel_size, strict=True)),
        orientation="".join(nib.aff2axcodes(volume.affine)),
        oblique_degrees=_oblique_degrees(volume.affine),
        codes=(int(volume.header["qform_code"]), int(volume.header["sform_code"])),
        stored=str(volume.stored_dtype),
        slope=slope,
        intercept=intercept,
        intensities=(float(volume.data.min()), float(volume.data.max())),
        resolution_mm=_resolution_mm(volume, trust),
        findings=findings,
        method=_method(share, is_labels=bool(labels) or settings.labels == "yes"),
        network_share=share,
        weights=weights.name,
        scale=weights.scale,
        output_shape=tuple(weights.scale * n for n in volume.shape),
        output_voxel_size=tuple(float(size) for size in np.linalg.norm(affine[:3, :3], axis=0)),
        execution=execution,
        seconds=round(seconds, 1),
        memory_bytes=memory,
        free_memory_bytes=free_memory(choose_device(settings.device)),
    )


def _resolution_mm(volume: Volume, trust: Trust) -> tuple[float, ...]:
    """Millimetres of the finest detail's sample that a volume holds along I, J and K."""
    pairs = zip(volume.voxel_size, trust.resolution, strict=True)
    return tuple(round(size * factor, 3) for size, factor in pairs)


def _method(share: float, *, is_labels: bool) -> str:
    if is_labels:
        return "labels"
    return "network" if share == 1 else "blend" if share > 0 else "interpolation"


def _oblique_degrees(affine: np.ndarray) -> float:
    """Largest angle between an axis of the voxels and the axis of the world nearest to it."""
    unit = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    nearest = np.abs(unit).max(axis=0).clip(max=1)
    return round(float(np.degrees(np.arccos(nearest)).max()), 1)


def _plan(
    low: torch.Tensor, weights: Weights, settings: InferenceSettings, share: float
) -> tuple[Execution, float, int]:
    """How a volume would be run, for about how many seconds and bytes."""
    high_voxels = low.numel() * weights.scale**3
    files = high_voxels / FILE_VOXELS_PER_SECOND
    if share == 0:
        return WITHOUT_NETWORK, files, 8 * high_voxels
    device = choose_device(settings.device)
    dtype = choose_precision(settings.precision, device)
    job = Job(weights.network(), low, settings, device, dtype)
    execution = planned_execution(job, tile_edges(job, room(job)[1]), ())
    voxels = execution.tiles * float(np.prod(execution.tile)) * execution.ensemble
    seconds = files + voxels * _seconds_per_voxel(job)
    return execution, seconds, job.result_bytes + tile_memory(job, execution.tile)


def _seconds_per_voxel(job: Job) -> float:
    """Seconds that a pass takes for a low voxel, measured on the middle of the volume."""
    parts = [slice(max(0, (n - PROBE_EDGE) // 2), (n + PROBE_EDGE) // 2) for n in job.low.shape]
    probe = job.low[tuple(parts)].contiguous()
    once = replace(
        job.settings, ensemble=1, tile="auto", consistency="none", fallback=False, batch_size=1
    )
    with threads_limited(job.settings.threads):
        predict_volume(job.network, probe[:16, :16, :16], once)  # what is done once for all
        started = time.perf_counter()
        _, execution = predict_volume(job.network, probe, once)
        seconds = time.perf_counter() - started
    return seconds / float(np.prod(execution.tile))
