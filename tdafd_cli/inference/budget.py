"""Budget: the memory that a volume, its tiles and its result need, and what there is."""

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor

from tdafd_cli.errors import MemoryLimitError, size_text
from tdafd_cli.inference.backends import Backend
from tdafd_cli.inference.ensemble import passes
from tdafd_cli.inference.execution import Execution
from tdafd_cli.inference.settings import InferenceSettings
from tdafd_cli.inference.tiling import cheapest_tile, plan_tiles
from tdafd_cli.machine.devices import precision_name
from tdafd_cli.machine.memory import free_memory
from tdafd_cli.networks.tdafd import TDAFD, TDAFDConfig
from tdafd_cli.sampling.consistency import consistency_memory

LARGEST_TILE_VOXELS = 192**3
"""Low voxels of a tile that "auto" does not exceed. Time per voxel grows a little with the tile, by
a fifth from 64^3 to 128^3 (one core, fp32), and by less than what more tiles share."""

MEMORY_SHARE = 0.6
"""Part of the free memory that "auto" gives to tiles: others need some too."""


@dataclass(frozen=True)
class Job:
    """One volume for one network, with every choice made except the size of the tiles."""

    network: TDAFD
    low: Tensor
    settings: InferenceSettings
    device: torch.device
    dtype: torch.dtype
    backend: Backend = field(default_factory=Backend)
    falloff: Tensor | None = None  # of the volume; until it is known, no tile can be predicted

    @property
    def config(self) -> TDAFDConfig:
        """Of the network."""
        return self.network.config

    @property
    def passes(self) -> int:
        """Passes over mirror images."""
        return passes(self.settings.ensemble, self.config.factors)

    @property
    def result_bytes(self) -> int:
        """Of the result, in float32."""
        return self.low.nbytes * math.prod(self.config.factors)


def memory_needed(config: TDAFDConfig, voxels: int, dtype: torch.dtype) -> int:
    """Bytes that a network takes for so many low voxels at once, estimated generously.

    Fitted to the peak memory of processes with 16 to 64 channels, 4 and 8 modules, in fp32 and
    bf16 on a CPU. With two passes it exceeds that by 13 to 60 % since oneDNN's fused kernels run
    the layers in fp32; a single pass takes less.
    """
    features = config.channels * (13 + 2.5 * config.modules)
    return math.ceil(voxels * (features * dtype.itemsize + 24 * math.prod(config.factors)))


def room(job: Job) -> tuple[torch.device, int]:
    """Device that holds the volume and its result, and bytes that are left for tiles."""
    free = free_memory(job.device)
    result = job.result_bytes
    cpu = torch.device("cpu")
    if job.device.type == "cpu":
        return cpu, free - result - _memory_afterwards(job)
    # Blending on the GPU saves moving tiles, as long as the result leaves them room.
    return (job.device, free - 2 * result) if 4 * result < free else (cpu, free)


def tile_edges(job: Job, budget: int) -> tuple[int, ...]:
    """Edges in low voxels of the tiles that fit into so many bytes, or that were asked for."""
    settings, grid = job.settings, job.config.grid
    if isinstance(settings.tile, int):
        smallest = math.ceil((settings.overlap + grid) / grid) * grid
        return (max(smallest, settings.tile // grid * grid),) * 3
    affordable = int(MEMORY_SHARE * budget / tile_memory(job, (1,)))
    return cheapest_tile(
        tuple(job.low.shape),
        overlap=settings.overlap,
        align=grid,
        most_voxels=min(affordable, LARGEST_TILE_VOXELS // settings.batch_size),
    )


def planned_execution(job: Job, edges: tuple[int, ...], notes: tuple[str, ...]) -> Execution:
    """How the job will be run in tiles of certain edges."""
    overlap, batch_size = job.settings.overlap, job.settings.batch_size
    plans = plan_tiles(tuple(job.low.shape), tile=edges, overlap=overlap, align=job.config.grid)
    return Execution(
        device=str(job.device),
        precision=precision_name(job.dtype),
        tile=tuple(plan.tile for plan in plans),
        tiles=math.prod(len(plan.starts) for plan in plans),
        overlap=overlap,
        batch_size=batch_size,
        ensemble=job.passes,
        backend=job.backend.name,
        notes=notes,
    )


def check_memory(job: Job) -> None:
    """Refuse what can never fit, before anything is computed."""
    _, budget = room(job)
    check_budget(job, planned_execution(job, tile_edges(job, budget), ()).tile, budget)
    needed = job.result_bytes + _memory_afterwards(job)
    free = free_memory(torch.device("cpu"))
    if needed > free:
        raise MemoryLimitError(
            f"the result needs about {needed / 1e9:.3g} GB, and {free / 1e9:.3g} GB are free; "
            "free some memory, or crop the volume"
        )


def _memory_afterwards(job: Job) -> int:
    """Bytes that consistency, and turning slices back, take when the tiles are done."""
    turned = job.result_bytes if job.config.axes == 1 else 0
    if job.settings.consistency == "none":
        return turned
    return max(turned, consistency_memory(job.low.numel(), job.config.scale))


def check_budget(job: Job, tile: tuple[int, ...], budget: int) -> None:
    """Refuse tiles that need more bytes than there are."""
    needed = tile_memory(job, tile)
    if needed <= budget:
        return
    if job.settings.tile != "auto":
        advice = "set the tile to auto or lower it"
    elif job.settings.batch_size > 1:
        advice = "lower the batch size"
    else:
        advice = "free some memory, lower the overlap, or crop the volume"
    raise MemoryLimitError(
        f"tiles of {size_text(tile)} voxels need about {needed / 1e9:.3g} GB, and beside the "
        f"result {max(budget, 0) / 1e9:.3g} GB are free ({job.device}); {advice}"
    )


def tile_memory(job: Job, tile: tuple[int, ...]) -> int:
    """Bytes that a batch of tiles takes in the network."""
    return memory_needed(job.config, math.prod(tile) * job.settings.batch_size, job.dtype)
