"""Upscale volumes and files with trained weights."""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from nibabel.spatialimages import SpatialImage

from tdafd_cli.formats.files import check_dtype, open_scan
from tdafd_cli.formats.images import volume_of
from tdafd_cli.formats.scan import Scan
from tdafd_cli.formats.selection import Selection
from tdafd_cli.formats.sidecars import slice_geometry
from tdafd_cli.inference.execution import WITHOUT_NETWORK, Execution
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
from tdafd_cli.sampling.plan import Plan, Request, plan_for, plan_notes
from tdafd_cli.volumes.defects import Defects, find_defects, mended, restore_defects_
from tdafd_cli.volumes.findings import (
    Finding,
    label_findings,
    noise_findings,
    slice_findings,
    volume_findings,
)
from tdafd_cli.volumes.grid import centred_affine, regridded, upscaled_affine
from tdafd_cli.volumes.intensity import IntensityRange, denormalise, intensity_range, normalise
from tdafd_cli.volumes.labels import label_count
from tdafd_cli.volumes.volume import Volume
from tdafd_cli.weights.file import Weights
from tdafd_cli.weights.store import MOST_KEPT, serving

Obtain = Callable[[Factors], Weights]
"""Gives weights for factors along I, J and K."""

THINNEST, THICKEST = 0.3, 2.0  # slices that voxels may stand for, in voxels


def upscale_source(
    source: str | Path | SpatialImage | Volume | Scan | tuple[Scan, int],
    *,
    weights: Weights | Obtain,
    request: Request | None = None,
    settings: InferenceSettings | None = None,
    selection: Selection | None = None,
    dtype: str = "input",
    progress: Progress | None = None,
) -> Result:
    """Upscale a file or an image in memory, and write nothing.

    Parameters
    ----------
    source : str, Path, nibabel image, Volume, Scan, or Scan and number
        As `open_scan` and `volume_of` take it, what was read already, or which volume of a scan.
    weights : Weights or callable
        A callable gives those for the factors (i, j, k) that serve the request best.
    request : Request, optional
        What the result's grid is to be; by default the scale is that of the weights, which make
        slices thinner along the axis that they are found on.
    settings : InferenceSettings, optional
    selection : Selection, optional
        Which one volume of the source is meant.
    dtype : str
        Of image and file, as for `write_volume`.
    progress : callable, optional
        Called after each tile with the number done and the number of all.

    Raises
    ------
    TdafdError
        In one line, whatever the reason.
    """
    settings = settings or InferenceSettings()
    check_dtype(dtype)
    if not isinstance(source, str | Path | SpatialImage | Volume | Scan | tuple):
        raise TypeError(f"expected a path or a nibabel image, got {type(source).__name__}")
    choose_precision(settings.precision, choose_device(settings.place))  # or fail before reading
    started = time.perf_counter()
    low = _read(source, selection or Selection())
    read = time.perf_counter()
    request = request or Request()
    plan = planned(low, request, weights)
    weights = serving(plan.factors, obtained(weights, plan))
    settings, told = slices_told(low, plan, request, settings)
    high, execution, findings = upscaled(low, weights, settings, progress, plan=plan)
    details = UpscaleReport(
        source=None if low.path is None else str(low.path),
        target=None,
        scale=weights.scale,
        factors=plan.factors,
        resampling=plan.resampling,
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
    return upscaled(volume, weights, settings or InferenceSettings(), progress)[0]


@lru_cache(maxsize=MOST_KEPT)
def network_on(weights: Weights, device: torch.device) -> TDAFD:
    """Network with some weights on a device, built at the first call and kept for later ones.

    Upscaling a volume does not change it: `predict_volume` chooses precision and threads around
    each call, not in the network, and each device has a network of its own.
    """
    return weights.network().to(device)


def planned(volume: Volume, request: Request, weights: Weights | Obtain) -> Plan:
    """Plan for a volume, or for a series of which it is the first.

    Raises
    ------
    VolumeError
        If the voxels asked for are no finer than the volume's.
    """

    def softest() -> int:
        return softest_axis(torch.from_numpy(normalise(volume.data, intensity_range(volume.data))))

    return plan_for(
        request,
        shape=volume.shape,
        voxel_size=volume.voxel_size,
        weights=weights.factors if isinstance(weights, Weights) else None,
        softest=softest,
        name="the image" if volume.path is None else str(volume.path),
    )


def obtained(weights: Weights | Obtain, plan: Plan) -> Weights:
    """The weights, or those that are given for a plan's factors."""
    return weights if isinstance(weights, Weights) else weights(plan.factors)


def slices_told(
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


def _read(
    source: str | Path | SpatialImage | Volume | Scan | tuple[Scan, int], selection: Selection
) -> Volume:
    if isinstance(source, Volume):
        return source
    if isinstance(source, tuple):
        scan, number = source
        (volume,) = scan.volumes([number])
        return volume
    if isinstance(source, SpatialImage):
        if selection != Selection():
            raise ValueError("series and part are chosen of files, not of images in memory")
        return volume_of(source)
    if not isinstance(source, Scan):
        source = open_scan(source, series=selection.series, part=selection.part)
    return source.only_volume(selection.numbers(source.count))


def upscaled(
    volume: Volume,
    weights: Weights,
    settings: InferenceSettings,
    progress: Progress | None = None,
    limits: IntensityRange | None = None,
    plan: Plan | None = None,
) -> tuple[Volume, Execution, tuple[Finding, ...]]:
    """Upscaled volume, how it was made, and what was found.

    ``limits`` are the intensities that stand for 0 and 1 in place of the volume's own; the ``plan``
    is that of the weights alone if there is none.
    """
    plan = plan or planned(volume, Request(), weights)
    labels = label_count(volume.data) if settings.labels == "auto" else 0
    if settings.labels == "yes" or labels:
        return _repeated(volume, plan, labels)
    defects = find_defects(volume.data) if settings.fallback else Defects()
    good = mended(volume.data, defects)
    limits = limits or intensity_range(good)
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
    finer = regridded(volume, data, affine_of(volume.affine, volume.shape, plan))
    return finer, replace(execution, notes=notes), findings


def affine_of(affine: np.ndarray, shape: Sequence[int], plan: Plan) -> np.ndarray:
    """Affine of the grid that a plan leads to, from a volume of a shape."""
    if plan.exact:
        return upscaled_affine(affine, plan.factors)
    size = [step / factor for step, factor in zip(plan.steps, plan.factors, strict=True)]
    return centred_affine(affine, shape, size, plan.shape)


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
    affine = affine_of(volume.affine, volume.shape, plan)
    finer = regridded(volume, volume.data[np.ix_(*places)], affine)
    return finer, WITHOUT_NETWORK, label_findings(labels)


def _denormalised(high: np.ndarray, limits: IntensityRange, dtype: np.dtype) -> np.ndarray:
    """Intensities, plane by plane: in place where the dtype allows, to hold the result once."""
    data = high if dtype == high.dtype else np.empty(high.shape, dtype)
    for index, plane in enumerate(high):
        data[index] = denormalise(plane.astype(dtype, copy=False), limits)
    return data
