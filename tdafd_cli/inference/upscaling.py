"""Upscale volumes and files with trained weights."""

import time
from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from nibabel.spatialimages import SpatialImage

from tdafd_cli.inference.execution import WITHOUT_NETWORK, Execution
from tdafd_cli.inference.plan import Plan, Request, plan_for, plan_notes
from tdafd_cli.inference.prediction import predict_volume
from tdafd_cli.inference.result import Result, UpscaleReport, seconds_of
from tdafd_cli.inference.settings import InferenceSettings
from tdafd_cli.inference.slices import predict_along, resampled, softest_axis
from tdafd_cli.inference.tiling import Progress
from tdafd_cli.inference.trust import trust_findings
from tdafd_cli.machine.devices import choose_device, choose_precision
from tdafd_cli.machine.memory import peak_memory
from tdafd_cli.networks.tdafd import TDAFD
from tdafd_cli.sampling.factors import Factors
from tdafd_cli.sampling.matrices import nearest_places
from tdafd_cli.volumes.defects import Defects, find_defects, mended, restore_defects_
from tdafd_cli.volumes.findings import (
    Finding,
    label_findings,
    noise_findings,
    slice_findings,
    volume_findings,
)
from tdafd_cli.volumes.grid import centred_affine, regridded, upscaled_affine
from tdafd_cli.volumes.images import volume_of
from tdafd_cli.volumes.intensity import IntensityRange, denormalise, intensity_range, normalise
from tdafd_cli.volumes.labels import label_count
from tdafd_cli.volumes.nifti import check_dtype, check_target, read_volume
from tdafd_cli.volumes.sidecar import slice_geometry
from tdafd_cli.volumes.volume import Volume
from tdafd_cli.weights.file import Weights
from tdafd_cli.weights.store import MOST_KEPT, serving

Obtain = Callable[[Factors], Weights]
"""Gives weights for factors along I, J and K."""

THINNEST, THICKEST = 0.3, 2.0  # slices that voxels may stand for, in voxels


def upscale_file(
    source: Path,
    target: Path,
    *,
    weights: Weights | Obtain,
    request: Request | None = None,
    settings: InferenceSettings | None = None,
    dtype: str = "input",
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Result:
    """Upscale one file into another, which appears whole or not at all.

    Parameters
    ----------
    source, target : Path
        NIfTI files.
    weights : Weights or callable
        A callable gives those for the factors (i, j, k) that serve the request best.
    request : Request, optional
        What the result's grid is to be; by default the scale is that of the weights, which make
        slices thinner along the axis that they are found on.
    settings : InferenceSettings, optional
    dtype, overwrite
        As for `write_volume`.
    progress : callable, optional
        Called after each tile with the number done and the number of all.

    Raises
    ------
    TdafdError
        In one line, whatever the reason; ``target`` is as it was then.
    """
    check_target(target, overwrite, source=source)
    result = upscale_source(
        source,
        weights=weights,
        request=request,
        settings=settings,
        dtype=dtype,
        progress=progress,
    )
    return result.save(target, overwrite)


def upscale_source(
    source: str | Path | SpatialImage,
    *,
    weights: Weights | Obtain,
    request: Request | None = None,
    settings: InferenceSettings | None = None,
    dtype: str = "input",
    progress: Progress | None = None,
) -> Result:
    """Upscale a file or an image in memory, and write nothing.

    Parameters
    ----------
    source : str, Path or nibabel image
        NIfTI, as `read_volume` and `volume_of` take it.
    weights, request, settings, dtype, progress
        As for `upscale_file`.

    Raises
    ------
    TdafdError
        In one line, whatever the reason.
    """
    settings = settings or InferenceSettings()
    check_dtype(dtype)
    if not isinstance(source, str | Path | SpatialImage):
        raise TypeError(f"expected a path or a nibabel image, got {type(source).__name__}")
    choose_precision(settings.precision, choose_device(settings.place))  # or fail before reading
    started = time.perf_counter()
    low = read_volume(source) if isinstance(source, str | Path) else volume_of(source)
    read = time.perf_counter()
    request = request or Request()
    plan = _plan(low, request, weights if isinstance(weights, Weights) else None)
    weights = serving(
        plan.factors, weights if isinstance(weights, Weights) else weights(plan.factors)
    )
    settings, told = _slices_told(low, plan, request, settings)
    high, execution, findings = _upscaled(low, weights, plan, settings, progress)
    details = UpscaleReport(
        source=None if low.path is None else str(low.path),
        target=None,
        scale=weights.scale,
        factors=plan.factors,
        resampling=tuple(round(step, 6) for step in plan.steps),
        input_shape=low.shape,
        output_shape=high.shape,
        input_voxel_size=low.voxel_size,
        output_voxel_size=high.voxel_size,
        weights=weights.name,
        weights_sha256=weights.sha256,
        execution=execution,
        warnings=(*told, *findings),
        seconds=seconds_of(read - started, time.perf_counter() - read, 0.0),
        peak_memory_bytes=peak_memory(torch.device(execution.device)),
    )
    return Result(low, high, details, dtype)


def upscale_volume(
    volume: Volume,
    weights: Weights,
    settings: InferenceSettings | None = None,
    progress: Progress | None = None,
) -> Volume:
    """Upscale a volume over the same field of view, on the intensity scale of the input.

    Where the input has no negative intensities, the result has none either.

    Raises
    ------
    DeviceError, MemoryLimitError
        In one line: the settings ask for what this machine does not have.
    """
    plan = _plan(volume, Request(), weights)
    return _upscaled(volume, weights, plan, settings or InferenceSettings(), progress)[0]


@lru_cache(maxsize=MOST_KEPT)
def network_on(weights: Weights, device: torch.device) -> TDAFD:
    """Network with some weights on a device, built at the first call and kept for later ones.

    Upscaling a volume does not change it: `predict_volume` chooses precision and threads around
    each call, not in the network, and each device has a network of its own.
    """
    return weights.network().to(device)


def _plan(volume: Volume, request: Request, weights: Weights | None) -> Plan:
    def softest() -> int:
        return softest_axis(torch.from_numpy(normalise(volume.data, intensity_range(volume.data))))

    return plan_for(
        request,
        shape=volume.shape,
        voxel_size=volume.voxel_size,
        weights=None if weights is None else weights.factors,
        softest=softest,
        name="the image" if volume.path is None else str(volume.path),
    )


def _slices_told(
    volume: Volume, plan: Plan, request: Request, settings: InferenceSettings
) -> tuple[InferenceSettings, tuple[Finding, ...]]:
    """Settings that know how thick slices are, if anyone says it, and what users should know."""
    axis = plan.slice_axis
    thickness = request.thickness_mm or slice_geometry(volume.path).thickness_mm
    if axis is None or thickness is None:
        return settings, ()
    share = thickness / volume.voxel_size[axis]
    if THINNEST <= share <= THICKEST:  # beyond, voxels are not what was measured
        settings = replace(settings, slice_share=share)
    return settings, tuple(slice_findings(volume.voxel_size, axis, thickness))


def _upscaled(
    volume: Volume,
    weights: Weights,
    plan: Plan,
    settings: InferenceSettings,
    progress: Progress | None,
) -> tuple[Volume, Execution, tuple[Finding, ...]]:
    labels = label_count(volume.data) if settings.labels == "auto" else 0
    if settings.labels == "yes" or labels:
        return _repeated(volume, plan, labels)
    defects = find_defects(volume.data) if settings.fallback else Defects()
    good = mended(volume.data, defects)
    limits = intensity_range(good)
    low = torch.from_numpy(normalise(good, limits))
    positive = bool(volume.data.min() >= 0)
    zero = limits.zero if positive else None
    network = network_on(weights, choose_device(settings.place))
    axis = plan.slice_axis
    if axis is None:
        high, execution = predict_volume(network, low, settings, progress, zero)
    else:
        high, execution = predict_along(network, low, axis, settings, progress, zero)
    data = _denormalised(high.numpy(), limits, volume.data.dtype)
    restore_defects_(data, volume.data, good, defects)
    data = resampled(torch.from_numpy(data), plan).numpy()
    if positive:
        np.maximum(data, 0, out=data)
    assert execution.trust is not None
    findings = (
        *trust_findings(execution.trust, volume.voxel_size, execution.network_share),
        *noise_findings(low.numpy()),
        *volume_findings(volume, defects, axis),
    )
    notes = (*execution.notes, *plan_notes(plan, volume.voxel_size))
    upscaled = regridded(volume, data, _affine(volume, plan))
    return upscaled, replace(execution, notes=notes), findings


def _affine(volume: Volume, plan: Plan) -> np.ndarray:
    if plan.exact:
        return upscaled_affine(volume.affine, plan.factors)
    size = [step / factor for step, factor in zip(plan.steps, plan.factors, strict=True)]
    return centred_affine(volume.affine, volume.shape, size, plan.shape)


def _repeated(
    volume: Volume, plan: Plan, labels: int
) -> tuple[Volume, Execution, tuple[Finding, ...]]:
    """Each voxel repeated: nearest-neighbour interpolation, which keeps to the labels there are."""
    places = [
        nearest_places(n, m, step / factor)
        for n, m, step, factor in zip(
            volume.shape, plan.shape, plan.steps, plan.factors, strict=True
        )
    ]
    upscaled = regridded(volume, volume.data[np.ix_(*places)], _affine(volume, plan))
    return upscaled, WITHOUT_NETWORK, label_findings(labels)


def _denormalised(high: np.ndarray, limits: IntensityRange, dtype: np.dtype) -> np.ndarray:
    """Intensities, plane by plane: in place where the dtype allows, to hold the result once."""
    data = high if dtype == high.dtype else np.empty(high.shape, dtype)
    for index, plane in enumerate(high):
        data[index] = denormalise(plane.astype(dtype, copy=False), limits)
    return data
