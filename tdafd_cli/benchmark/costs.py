"""What TDAFD and its peers cost on one patch: counted for all, measured on request."""

import statistics
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache, partial

import torch
from torch import nn

from tdafd_cli.machine.devices import choose_device, choose_precision, threads_limited
from tdafd_cli.machine.memory import freed_memory_kept
from tdafd_cli.machine.metering import metered
from tdafd_cli.networks.complexity import Complexity, complexity, low_edge
from tdafd_cli.networks.peers import PEERS
from tdafd_cli.networks.tdafd import TDAFD, TDAFDConfig

TDAFD_NAME = "TDAFD"
REPEATS = 3
SLOW_SECONDS = 3.0  # a first pass that takes as long is not repeated


@dataclass(frozen=True)
class Cost:
    """Cost of one network for one patch.

    Attributes
    ----------
    network : str
    scale : int
    grid : {"low", "high"}
        Where most of its layers work.
    low_edge, high_edge : int
        Voxels along each edge of the patch before and after.
    parameters, macs, flops : int
    seconds : float, optional
        Median of three forward passes after one to warm up; None if not measured.
    peak_memory_bytes : int, optional
        Beyond what was held before the first pass.
    source : str
        Where the network is described.
    """

    network: str
    scale: int
    grid: str
    low_edge: int
    high_edge: int
    parameters: int
    macs: int
    flops: int
    seconds: float | None
    peak_memory_bytes: int | None
    source: str


def costs(
    configs: Mapping[int, TDAFDConfig],
    *,
    patch: int,
    device: str = "auto",
    precision: str = "auto",
    threads: int | None = None,
    time_peers: bool = False,
) -> Iterator[Cost]:
    """Cost of TDAFD and of every peer, scale by scale, as they are counted.

    Parameters
    ----------
    configs : mapping of scale to TDAFDConfig
    patch : int
        High voxels along each edge; rounded to what TDAFD's window grid divides at each scale, so
        that no network computes on padding.
    device, precision, threads
        As for `tdafd upscale`.
    time_peers : bool
        Whether peers are run too; some take minutes on a CPU.
    """
    place = choose_device(device)
    dtype = choose_precision(precision, place)
    for scale, config in configs.items():
        edge = low_edge(patch, scale, config.grid)
        build: Callable[[], nn.Module] = partial(TDAFD, config)
        with threads_limited(threads):
            taken = _forward_cost(build, edge, place, dtype)
        counted = complexity(build, (edge,) * 3)
        yield _cost((TDAFD_NAME, "low", "this reconstruction"), scale, edge, counted, taken)
        for peer in PEERS.values():
            counted = _counted(peer.name, scale, edge)
            with threads_limited(threads):
                build = partial(peer.build, scale)
                peer_taken = _forward_cost(build, edge, place, dtype) if time_peers else None
            about = (peer.name, peer.grid, peer.source)
            yield _cost(about, scale, edge, counted, peer_taken)


def _cost(
    about: tuple[str, str, str],
    scale: int,
    edge: int,
    counted: Complexity,
    taken: tuple[float, int] | None,
) -> Cost:
    network, grid, source = about
    seconds, memory = taken or (None, None)
    return Cost(
        network=network,
        scale=scale,
        grid=grid,
        low_edge=edge,
        high_edge=edge * scale,
        parameters=counted.parameters,
        macs=counted.macs,
        flops=counted.flops,
        seconds=seconds,
        peak_memory_bytes=memory,
        source=source,
    )


@cache
def _counted(peer: str, scale: int, edge: int) -> Complexity:
    """Complexity of a peer, which never changes."""
    return complexity(partial(PEERS[peer].build, scale), (edge,) * 3)


def _forward_cost(
    build: Callable[[], nn.Module], edge: int, device: torch.device, dtype: torch.dtype
) -> tuple[float, int]:
    network = build().eval().to(device)
    network.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
    low = torch.rand(1, 1, edge, edge, edge, generator=torch.Generator().manual_seed(0)).to(device)
    reduced = None if dtype == torch.float32 else dtype

    def forward() -> None:
        with torch.inference_mode(), torch.autocast(device.type, reduced, enabled=bool(reduced)):
            network(low)

    first = metered(forward, str(device))
    if first.seconds > SLOW_SECONDS:
        return first.seconds, first.peak_memory_bytes
    with freed_memory_kept():
        forward()
        times = [metered(forward, str(device)).seconds for _ in range(REPEATS)]
    return statistics.median(times), first.peak_memory_bytes
