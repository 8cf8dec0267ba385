"""Run a network over a whole volume, in the precision and the memory that the machine has."""

from dataclasses import replace

import torch
from torch import Tensor

from tdafd_cli.errors import size_text
from tdafd_cli.inference.backends import Backend, choose_backend
from tdafd_cli.inference.background import occupied_box, surrounded
from tdafd_cli.inference.budget import (
    Job,
    check_budget,
    check_memory,
    planned_execution,
    room,
    tile_edges,
    tile_memory,
)
from tdafd_cli.inference.ensemble import self_ensemble
from tdafd_cli.inference.execution import WITHOUT_NETWORK, Execution
from tdafd_cli.inference.settings import InferenceSettings
from tdafd_cli.inference.tiling import Predict, Progress, predict_tiled
from tdafd_cli.inference.trust import trust_in
from tdafd_cli.machine.devices import (
    choose_device,
    choose_precision,
    precision_name,
    threads_limited,
)
from tdafd_cli.machine.memory import freed_memory_kept
from tdafd_cli.networks.tdafd import TDAFD
from tdafd_cli.sampling.consistency import (
    INFERRED_SHARE,
    make_consistent_,
    was_truncated,
)
from tdafd_cli.sampling.interpolation import blend_interpolated_
from tdafd_cli.sampling.spectrum import spectral_falloff
from tdafd_cli.volumes.plateaus import two_levels

PRECISION_TOLERANCE = 0.05
"""Largest difference from fp32, as part of the intensity range, that reduced precision may make.
bf16 made at most 0.005, 0.035 and 0.007 on a head degraded by k-space truncation, Gaussian blur and
averaging, and a root mean square of 0.0005, 0.003 and 0.0006: a tenth of the network's error
(22 November 2026; version 3 of tdafd-x2)."""

BACKEND_TOLERANCE = 1e-4
"""Likewise of another backend in fp32, which made at most 1e-5."""

BEYOND = 0.1
"""How far a result may lie beyond the scan's least and greatest intensity, as part of their range.
On two validation heads this changed PSNR by 0.01 dB at most, by 0.025 at x2 under blur (versions 4,
6 and 7 of tdafd-x2, x3 and x4)."""

PROBE_EDGE = 32
"""Edge in low voxels of the cube on which a CPU's reduced precision is checked; twice on a GPU."""


def predict_volume(
    network: TDAFD,
    low: Tensor,
    settings: InferenceSettings | None = None,
    progress: Progress | None = None,
    zero: float | None = None,
) -> tuple[Tensor, Execution]:
    """Upscale a volume of normalised intensities in tiles, and make it agree with the volume.

    Reduced precision is first compared with fp32 in the middle of the volume, and given up where
    the two differ. Where memory runs out all the same, smaller tiles are tried.

    Parameters
    ----------
    network : TDAFD
        It is moved to the device.
    low : (I, J, K) float32 tensor on the CPU
    settings : InferenceSettings, optional
    progress : callable, optional
        Called after each tile with the number done and the number of all; the count starts anew
        when other tiles or another precision are tried.
    zero : float, optional
        What an intensity of zero became in ``low``, if no intensity was negative.

    Returns
    -------
    (sI, sJ, sK) float32 tensor on the CPU, or (I, J, sK) by a network for one axis; and how it was
    made

    Raises
    ------
    DeviceError, MemoryLimitError
        The settings ask for what this machine does not have.
    """
    settings = settings or InferenceSettings()
    device = choose_device(settings.place)
    dtype = choose_precision(settings.precision, device)
    network = network.eval().to(device)
    network.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
    with threads_limited(settings.threads), freed_memory_kept():
        job = Job(network, low, settings, device, dtype)
        check_memory(job)
        falloff = spectral_falloff(low[None, None])
        trust = trust_in(falloff[0], tuple(low.shape), network.config.factors)
        share = trust.share if settings.fallback else 1.0
        if share == 0:
            high, execution = _interpolated(job)
        else:
            box = occupied_box(low, network.grid)
            job = replace(job, low=low[box], falloff=falloff.to(device))
            part, execution = _predict_exactly_enough(replace(job, backend=_backend(job)), progress)
            high = surrounded(part, box, low)
        if share < 1:
            blend_interpolated_(high, low, 1 - share, trust.interpolation)
        consistency = _make_consistent_(high, low, settings, share, zero)
        if settings.fallback:
            _keep_near_range_(high, low)
    return high, replace(execution, consistency=consistency, network_share=share, trust=trust)


def _backend(job: Job) -> Backend:
    voxels = job.low.numel() * job.passes
    return choose_backend(job.settings.backend, job.network, job.device, job.dtype, voxels)


def _interpolated(job: Job) -> tuple[Tensor, Execution]:
    """Empty volume for a result of interpolation alone, and the execution to report for it."""
    sizes = zip(job.config.factors, job.low.shape, strict=True)
    high = torch.empty([factor * n for factor, n in sizes])
    return high, WITHOUT_NETWORK


def _keep_near_range_(high: Tensor, low: Tensor) -> None:
    """Bring back what lies far beyond the scan's intensities, or its two levels, in place."""
    lowest, highest = two_levels(low.numpy()) or (float(low.min()), float(low.max()))
    margin = BEYOND * (highest - lowest)
    high.clamp_(lowest - margin, highest + margin)


def _make_consistent_(
    high: Tensor, low: Tensor, settings: InferenceSettings, network_share: float, zero: float | None
) -> str:
    """Make a result agree with its scan as the settings say, in place; under which degradation."""
    consistency, share = settings.consistency, 1.0
    if consistency == "auto":
        # An interpolation agrees with what it was made from.
        one_axis = high.shape[0] == low.shape[0]  # slices are not truncated k-space
        truncated = network_share == 1 and not one_axis and was_truncated(high, low)
        consistency, share = "kspace" if truncated else "none", INFERRED_SHARE
    if consistency != "none":
        thickness = settings.slice_share
        make_consistent_(high, low, consistency, share=share, zero=zero, thickness=thickness)
    return consistency


def _predictor(job: Job, count: int) -> Predict:
    reduced = None if job.dtype == torch.float32 else job.dtype
    kind, falloff, trunk = job.device.type, job.falloff, job.backend.trunk
    assert falloff is not None

    def network(tiles: Tensor) -> Tensor:
        tiles = tiles.contiguous(memory_format=torch.channels_last_3d)
        own = falloff.expand(len(tiles), -1, -1)
        high: Tensor = job.network(tiles, own, trunk) if trunk else job.network(tiles, own)
        return high

    def predict(tiles: Tensor) -> Tensor:
        with torch.inference_mode(), torch.autocast(kind, reduced, enabled=reduced is not None):
            return self_ensemble(network, tiles.to(job.device), count)

    return predict


def _predict_exactly_enough(job: Job, progress: Progress | None) -> tuple[Tensor, Execution]:
    """Predict in the precision and by the backend chosen, or by PyTorch in fp32 if that fails."""
    fault = _fault(job)
    note = job.backend.note
    notes = () if note is None else (f"{note}: PyTorch was used",)
    if fault is None:
        high, execution = _predict_within_memory(job, progress)
        if torch.isfinite(high.sum()):
            return high, replace(execution, notes=(*notes, *execution.notes))
        fault = f"{_way(job)} overflowed"
    job = replace(job, dtype=torch.float32, backend=Backend())
    high, execution = _predict_within_memory(job, progress)
    return high, replace(execution, notes=(*notes, f"{fault}: fp32 was used", *execution.notes))


def _way(job: Job) -> str:
    """How a job is computed, as text."""
    precision = precision_name(job.dtype)
    return precision if job.backend.trunk is None else f"OpenVINO in {precision}"


def _fault(job: Job) -> str | None:
    """Tell how a precision or a backend fails in the middle of the volume, or None if it does not.

    What is checked against is PyTorch in fp32.
    """
    reduced = job.dtype != torch.float32
    if job.backend.trunk is None and not reduced:
        return None
    edge = PROBE_EDGE if job.device.type == "cpu" else 2 * PROBE_EDGE
    probe = job.low[tuple(slice(max(0, (n - edge) // 2), (n + edge) // 2) for n in job.low.shape)]
    plain = replace(job, dtype=torch.float32, backend=Backend())
    exact = _predictor(plain, count=1)(probe[None, None])
    error = float((_predictor(job, count=1)(probe[None, None]) - exact).abs().max())
    if error <= (PRECISION_TOLERANCE if reduced else BACKEND_TOLERANCE):  # which NaN is not
        return None
    return f"{_way(job)} differed from fp32 by {error:.2g} of the range"


def _predict_within_memory(job: Job, progress: Progress | None) -> tuple[Tensor, Execution]:
    """Predict in tiles that fit, and in smaller ones if memory runs out all the same."""
    home, budget = room(job)
    notes: tuple[str, ...] = ()
    while True:
        edges = tile_edges(job, budget)
        execution = planned_execution(job, edges, notes)
        check_budget(job, execution.tile, budget)
        try:
            high = predict_tiled(
                _predictor(job, job.passes),
                job.low.to(home),
                scale=job.config.factors,
                tile=edges,
                overlap=job.settings.overlap,
                align=job.config.grid,
                batch_size=job.settings.batch_size,
                progress=progress,
            )
            return high.cpu(), execution
        except RuntimeError as error:
            if not _is_out_of_memory(error):
                raise
        # Beyond the handler, whose traceback keeps the failed pass's tensors alive.
        notes = (
            *notes,
            f"no memory for tiles of {size_text(execution.tile)}: smaller ones were used",
        )
        budget = tile_memory(job, execution.tile) // 2
        job = replace(job, settings=replace(job.settings, tile="auto"))


def _is_out_of_memory(error: RuntimeError) -> bool:
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)
