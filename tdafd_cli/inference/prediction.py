"""Run a network over a whole volume, in the precision and the memory that the machine has."""

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from tdafd_cli.errors import MemoryLimitError
from tdafd_cli.inference.ensemble import PASSES, passes, self_ensemble
from tdafd_cli.inference.tiling import Predict, Progress, cheapest_tile, plan_tiles, predict_tiled
from tdafd_cli.inference.trust import Trust, trust_in
from tdafd_cli.machine.devices import (
    PRECISIONS,
    choose_device,
    choose_precision,
    precision_name,
    threads_limited,
)
from tdafd_cli.machine.memory import free_memory, freed_memory_kept
from tdafd_cli.networks.tdafd import TDAFD, TDAFDConfig
from tdafd_cli.sampling.consistency import (
    CONSISTENCIES,
    UNTOLD_SHARE,
    consistency_memory,
    make_consistent_,
    was_truncated,
)
from tdafd_cli.sampling.interpolation import blend_interpolated_
from tdafd_cli.sampling.spectrum import spectral_falloff

LARGEST_TILE_VOXELS = 144**3
"""Low voxels of a tile that "auto" does not exceed: larger ones save little overlap, and no time
per voxel (3.3 us at 64^3, 3.5 at 112^3, 4.2 at 144^3, on one core in bf16)."""

OVERLAP = 48
"""Low voxels shared by default: three windows of the network, of which the outer two hold most of
what a tile's border spoils. On a 2 mm head, results up to 16 voxels from a border were off by 0.6
to 23 % of the range, those up to 32 by less than 0.2 %, and those beyond by nothing (measured with
version 1 of tdafd-x2)."""

MEMORY_SHARE = 0.6
"""Part of the free memory that "auto" gives to tiles: others need some too."""

PRECISION_TOLERANCE = 0.05
"""Largest difference from fp32, as part of the intensity range, that reduced precision may make.
bf16 made at most 0.005, 0.035 and 0.007 on a head degraded by k-space truncation, Gaussian blur and
averaging, and a root mean square of 0.0005, 0.003 and 0.0006: a tenth of the network's error."""

LABELS = ("auto", "yes", "no")

BEYOND = 0.1
"""How far a result may lie beyond the scan's least and greatest intensity, as part of their range.
On two validation heads this changed PSNR by 0.01 dB at most, by 0.025 at x2 under blur."""

PROBE_EDGE = 32
"""Edge in low voxels of the cube on which a CPU's reduced precision is checked; twice on a GPU."""


@dataclass(frozen=True)
class InferenceSettings:
    """How to run a network, apart from its weights.

    Attributes
    ----------
    device : str
        "auto", "cpu", "cuda", "cuda:N" or "mps".
    precision : {"auto", "fp32", "bf16", "fp16"}
        Of the network's trunk; its image skip is always fp32.
    tile : int or "auto"
        Largest edge of a tile in low voxels, rounded down to the network's window grid; "auto"
        takes what the free memory allows and the volume's shape makes cheapest.
    overlap : int
        Low voxels that neighbouring tiles share.
    batch_size : int
        Tiles per pass through the network.
    threads : int, optional
        CPU threads; PyTorch's default if None.
    ensemble : {"auto", 1, 2, 4, 8}
        Passes, each but the first over a mirror image; "auto" is 2 at x2, 8 at x3 and x4.
    consistency : {"auto", "none", "kspace", "gaussian", "average"}
        Degradation under which the result is to give the scan again. "auto" goes a part of the way
        to "kspace" where nothing else explains the scan nearly as well, and is "none" elsewhere.
    fallback : bool
        Whether interpolation takes the network's place as far as the scan is smoother than any that
        the network was trained on.
    labels : {"auto", "yes", "no"}
        Whether the volume is a label map, whose voxels are repeated so that no new value occurs.
    """

    device: str = "auto"
    precision: str = "auto"
    tile: int | str = "auto"
    overlap: int = OVERLAP
    batch_size: int = 1
    threads: int | None = None
    ensemble: int | str = "auto"
    consistency: str = "auto"
    fallback: bool = True
    labels: str = "auto"

    def __post_init__(self) -> None:
        if self.precision not in ("auto", *PRECISIONS):
            raise ValueError(f"precision must be auto or one of {', '.join(PRECISIONS)}")
        if self.tile != "auto" and (isinstance(self.tile, str) or self.tile <= self.overlap):
            raise ValueError(f"tile must be auto or above the overlap, got {self.tile!r}")
        if self.overlap < 0 or self.batch_size < 1:
            raise ValueError("overlap must be at least 0 and batch_size at least 1")
        if self.threads is not None and self.threads < 1:
            raise ValueError(f"threads must be at least 1, got {self.threads}")
        if self.ensemble not in ("auto", *PASSES):
            raise ValueError(f"ensemble must be auto, 1, 2, 4 or 8, got {self.ensemble!r}")
        if self.consistency not in CONSISTENCIES:
            raise ValueError(f"consistency must be one of {', '.join(CONSISTENCIES)}")
        if self.labels not in LABELS:
            raise ValueError(f"labels must be one of {', '.join(LABELS)}")


@dataclass(frozen=True)
class Execution:
    """How a network was run in the end.

    Attributes
    ----------
    device : str
    precision : {"fp32", "bf16", "fp16"}
    tile : tuple of int
        Low voxels of each tile along I, J and K.
    tiles : int
        How many there were.
    overlap, batch_size : int
    ensemble : int
        Passes, each but the first over a mirror image.
    consistency : {"none", "kspace", "gaussian", "average"}
        Degradation under which the result was made to agree with the scan.
    notes : tuple of str
        What was not done as asked, and why.
    network_share : float
        Of the network in the result, from 0 to 1; the rest is interpolation.
    trust : Trust, optional
        What the scan's spectrum says of it.
    """

    device: str
    precision: str
    tile: tuple[int, ...]
    tiles: int
    overlap: int
    batch_size: int
    ensemble: int
    consistency: str = "none"
    notes: tuple[str, ...] = ()
    network_share: float = 1.0
    trust: Trust | None = None


WITHOUT_NETWORK = Execution(
    device="cpu",
    precision="fp32",
    tile=(),
    tiles=0,
    overlap=0,
    batch_size=0,
    ensemble=0,
    network_share=0.0,
)
"""How label maps are upscaled, and scans that are interpolated alone."""


@dataclass(frozen=True)
class _Job:
    """One volume for one network, with every choice made but the tile."""

    network: TDAFD
    low: Tensor
    settings: InferenceSettings
    device: torch.device
    dtype: torch.dtype
    falloff: Tensor | None = None  # of the volume; until it is known, no tile can be predicted

    @property
    def config(self) -> TDAFDConfig:
        return self.network.config

    @property
    def passes(self) -> int:
        return passes(self.settings.ensemble, self.config.scale)

    @property
    def result_bytes(self) -> int:
        return self.low.nbytes * self.config.scale**3


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
    (sI, sJ, sK) float32 tensor on the CPU, and how it was made

    Raises
    ------
    DeviceError, MemoryLimitError
        The settings ask for what this machine does not have.
    """
    settings = settings or InferenceSettings()
    device = choose_device(settings.device)
    dtype = choose_precision(settings.precision, device)
    network = network.eval().to(device)
    network.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
    with threads_limited(settings.threads), freed_memory_kept():
        job = _Job(network, low, settings, device, dtype)
        _check_memory(job)
        falloff = spectral_falloff(low[None, None])
        trust = trust_in(falloff[0], tuple(low.shape), network.config.scale)
        share = trust.share if settings.fallback else 1.0
        if share == 0:
            high, execution = _interpolated(job)
        else:
            job = replace(job, falloff=falloff.to(device))
            high, execution = _predict_exactly_enough(job, progress)
        if share < 1:
            blend_interpolated_(high, low, 1 - share, trust.interpolation)
        consistency = _make_consistent_(high, low, settings, share, zero)
        if settings.fallback:
            _keep_near_range_(high, low)
    return high, replace(execution, consistency=consistency, network_share=share, trust=trust)


def _interpolated(job: _Job) -> tuple[Tensor, Execution]:
    """Room for a result that no network has a part in, and the execution that tells so."""
    high = torch.empty([job.config.scale * n for n in job.low.shape])
    return high, WITHOUT_NETWORK


def _keep_near_range_(high: Tensor, low: Tensor) -> None:
    """Bring back what lies far beyond the scan's intensities, in place."""
    lowest, highest = low.aminmax()
    margin = BEYOND * (highest - lowest)
    high.clamp_(lowest - margin, highest + margin)


def _make_consistent_(
    high: Tensor, low: Tensor, settings: InferenceSettings, network_share: float, zero: float | None
) -> str:
    """Make a result agree with its scan as the settings say, in place; under which degradation."""
    consistency, share = settings.consistency, 1.0
    if consistency == "auto":
        # An interpolation agrees with what it was made from.
        truncated = network_share == 1 and was_truncated(high, low)
        consistency, share = "kspace" if truncated else "none", UNTOLD_SHARE
    if consistency != "none":
        make_consistent_(high, low, consistency, share=share, zero=zero)
    return consistency


def memory_needed(config: TDAFDConfig, voxels: int, dtype: torch.dtype) -> int:
    """Bytes that a network takes for so many low voxels at once, estimated generously.

    Fitted to the peak memory of processes with 16 to 64 channels, 4 and 8 modules, in fp32 and
    bf16 on a CPU. With the default passes it exceeds that by 11 to 47 % (64^3 voxels, all scales);
    a single pass takes less.
    """
    features = config.channels * (13 + 2.5 * config.modules)
    return math.ceil(voxels * (features * dtype.itemsize + 24 * config.scale**3))


def _predictor(job: _Job, count: int) -> Predict:
    reduced = None if job.dtype == torch.float32 else job.dtype
    kind, falloff = job.device.type, job.falloff
    assert falloff is not None

    def network(tiles: Tensor) -> Tensor:
        tiles = tiles.contiguous(memory_format=torch.channels_last_3d)
        high: Tensor = job.network(tiles, falloff.expand(len(tiles), -1, -1))
        return high

    def predict(tiles: Tensor) -> Tensor:
        with torch.inference_mode(), torch.autocast(kind, reduced, enabled=reduced is not None):
            return self_ensemble(network, tiles.to(job.device), count)

    return predict


def _predict_exactly_enough(job: _Job, progress: Progress | None) -> tuple[Tensor, Execution]:
    """Predict in the precision chosen, or in fp32 where that one fails."""
    fault = _precision_fault(job)
    if fault is None:
        high, execution = _predict_within_memory(job, progress)
        if torch.isfinite(high.sum()):
            return high, execution
        fault = f"{execution.precision} overflowed"
    high, execution = _predict_within_memory(replace(job, dtype=torch.float32), progress)
    return high, replace(execution, notes=(f"{fault}: fp32 was used", *execution.notes))


def _precision_fault(job: _Job) -> str | None:
    """Tell how a reduced precision fails in the middle of the volume, or None if it does not."""
    if job.dtype == torch.float32:
        return None
    edge = PROBE_EDGE if job.device.type == "cpu" else 2 * PROBE_EDGE
    probe = job.low[tuple(slice(max(0, (n - edge) // 2), (n + edge) // 2) for n in job.low.shape)]
    exact = _predictor(replace(job, dtype=torch.float32), count=1)(probe[None, None])
    error = float((_predictor(job, count=1)(probe[None, None]) - exact).abs().max())
    if error <= PRECISION_TOLERANCE:  # which NaN is not
        return None
    return f"{precision_name(job.dtype)} differed from fp32 by {error:.2g} of the range"


def _predict_within_memory(job: _Job, progress: Progress | None) -> tuple[Tensor, Execution]:
    """Predict in tiles that fit, and in smaller ones if memory runs out all the same."""
    home, budget = _room(job)
    notes: tuple[str, ...] = ()
    while True:
        edge = _tile_edge(job, budget)
        execution = _execution(job, edge, notes)
        _check_budget(job, execution.tile, budget)
        try:
            high = predict_tiled(
                _predictor(job, job.passes),
                job.low.to(home),
                scale=job.config.scale,
                tile=edge,
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
        notes = (*notes, f"no memory for tiles of {_times(execution.tile)}: smaller ones were used")
        budget = _tile_memory(job, execution.tile) // 2
        job = replace(job, settings=replace(job.settings, tile="auto"))


def _room(job: _Job) -> tuple[torch.device, int]:
    """Device that holds the volume and its result, and bytes that are left for tiles."""
    free = free_memory(job.device)
    result = job.result_bytes
    cpu = torch.device("cpu")
    if job.device.type == "cpu":
        return cpu, free - result - _memory_afterwards(job)
    # Blending on the GPU saves moving tiles, as long as the result leaves them room.
    return (job.device, free - 2 * result) if 4 * result < free else (cpu, free)


def _tile_edge(job: _Job, budget: int) -> int:
    settings, grid = job.settings, job.config.grid
    if isinstance(settings.tile, int):
        smallest = math.ceil((settings.overlap + grid) / grid) * grid
        return max(smallest, settings.tile // grid * grid)
    affordable = int(MEMORY_SHARE * budget / _tile_memory(job, (1,)))
    return cheapest_tile(
        tuple(job.low.shape),
        overlap=settings.overlap,
        align=grid,
        most_voxels=min(affordable, LARGEST_TILE_VOXELS // settings.batch_size),
    )


def _execution(job: _Job, edge: int, notes: tuple[str, ...]) -> Execution:
    overlap, batch_size = job.settings.overlap, job.settings.batch_size
    plans = plan_tiles(tuple(job.low.shape), tile=edge, overlap=overlap, align=job.config.grid)
    return Execution(
        device=str(job.device),
        precision=precision_name(job.dtype),
        tile=tuple(plan.tile for plan in plans),
        tiles=math.prod(len(plan.starts) for plan in plans),
        overlap=overlap,
        batch_size=batch_size,
        ensemble=job.passes,
        notes=notes,
    )


def _check_memory(job: _Job) -> None:
    """Refuse what can never fit, before anything is computed."""
    _, budget = _room(job)
    _check_budget(job, _execution(job, _tile_edge(job, budget), ()).tile, budget)
    needed = job.result_bytes + _memory_afterwards(job)
    free = free_memory(torch.device("cpu"))
    if needed > free:
        raise MemoryLimitError(
            f"the result needs about {needed / 1e9:.3g} GB, and {free / 1e9:.3g} GB are free; "
            "free some memory, or crop the volume"
        )


def _memory_afterwards(job: _Job) -> int:
    """Bytes that consistency takes when the tiles are done."""
    if job.settings.consistency == "none":
        return 0
    return consistency_memory(job.low.numel(), job.config.scale)


def _check_budget(job: _Job, tile: tuple[int, ...], budget: int) -> None:
    needed = _tile_memory(job, tile)
    if needed <= budget:
        return
    if job.settings.tile != "auto":
        advice = "set the tile to auto or lower it"
    elif job.settings.batch_size > 1:
        advice = "lower the batch size"
    else:
        advice = "free some memory, lower the overlap, or crop the volume"
    raise MemoryLimitError(
        f"tiles of {_times(tile)} voxels need about {needed / 1e9:.3g} GB, and beside the result "
        f"{max(budget, 0) / 1e9:.3g} GB are free ({job.device}); {advice}"
    )


def _tile_memory(job: _Job, tile: tuple[int, ...]) -> int:
    return memory_needed(job.config, math.prod(tile) * job.settings.batch_size, job.dtype)


def _is_out_of_memory(error: RuntimeError) -> bool:
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)


def _times(tile: tuple[int, ...]) -> str:
    return " x ".join(str(edge) for edge in tile)
