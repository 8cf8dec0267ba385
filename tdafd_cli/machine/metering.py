"""What a computation takes: seconds, and memory beyond what was held before."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Generic, TypeVar

import psutil
import torch

from tdafd_cli.machine.memory import peak_memory, restart_peak_memory, return_freed_memory

SAMPLING_SECONDS = 0.02

Value = TypeVar("Value")


@dataclass(frozen=True)
class Metered(Generic[Value]):
    """Result of a computation, and what it took.

    Attributes
    ----------
    value
    seconds : float
        Of wall clock.
    peak_memory_bytes : int
        Most bytes held beyond those held before: by tensors on a GPU, elsewhere by the process.
    """

    value: Value
    seconds: float
    peak_memory_bytes: int


def metered(
    work: Callable[[], Value], device: str = "cpu", *, children: bool = False
) -> Metered[Value]:
    """Do some work, and measure its time and memory.

    Parameters
    ----------
    work : callable
    device : str
        Where it computes.
    children : bool
        Whether to count the memory of this process and of those it starts instead, looked up
        every 20 ms, so that a shorter peak can be missed. The same is done
        where the system cannot report a peak since a given moment.
    """
    place = torch.device(device)
    return_freed_memory()  # or it would be taken again unseen
    before = _held(place, children)
    with _sampled(place, children) as sampled:
        exact = not children and restart_peak_memory(place)
        started = time.perf_counter()
        value = work()
        if place.type == "cuda":
            torch.cuda.synchronize(place)
        seconds = time.perf_counter() - started
        peak = peak_memory(place) if exact else _held(place, children)
    return Metered(value, seconds, max(0, peak - before, sampled[0] - before))


@contextmanager
def _sampled(place: torch.device, children: bool) -> Iterator[list[int]]:
    """Most bytes held at any look, in a list of one."""
    most, done = [0], threading.Event()

    def watch() -> None:
        while not done.wait(SAMPLING_SECONDS):
            most[0] = max(most[0], _held(place, children))

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield most
    finally:
        done.set()
        watcher.join()


def _held(place: torch.device, children: bool) -> int:
    if place.type == "cuda" and not children:
        return torch.cuda.memory_allocated(place)
    own = psutil.Process()
    held = int(own.memory_info().rss)
    if children:
        for process in own.children(recursive=True):
            with suppress(psutil.Error):  # ended meanwhile
                held += process.memory_info().rss
    return held
