"""Workers: processes on one machine that share the jobs of a batch, each on a device."""

import multiprocessing
import os
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection, wait
from typing import NoReturn

from tdafd_cli.batch.folder import Told, work_through
from tdafd_cli.batch.jobs import Job
from tdafd_cli.batch.ledger import Ledger
from tdafd_cli.batch.outcome import Outcome
from tdafd_cli.batch.request import Request
from tdafd_cli.errors import TdafdError, WeightsError
from tdafd_cli.inference.settings import InferenceSettings
from tdafd_cli.weights.file import read_weights

PATIENCE_SECONDS = 120.0
"""How long workers that were asked to end may take to write what they have."""


@dataclass(frozen=True)
class _Task:
    """All that a worker must know."""

    jobs: tuple[Job, ...]
    request: Request
    ledger: Ledger
    since_ns: int


def worker_count(wanted: str, devices: Sequence[str]) -> int:
    """Number of processes: "auto" is one for each device.

    One process keeps all cores of a CPU busy, so that more of them gain nothing there.
    """
    return max(1, len(devices)) if wanted == "auto" else int(wanted)


def worker_settings(
    settings: InferenceSettings, devices: Sequence[str], workers: int
) -> list[InferenceSettings]:
    """Settings of each worker: devices are dealt out in turn, threads in equal parts."""
    devices = devices or (settings.device,)
    threads = settings.threads
    if workers > 1:
        threads = max(1, (threads or _cores()) // workers)
    return [
        replace(settings, device=devices[number % len(devices)], threads=threads)
        for number in range(workers)
    ]


def run_workers(
    jobs: Sequence[Job],
    request: Request,
    ledger: Ledger,
    settings: Sequence[InferenceSettings],
    *,
    since_ns: int,
    told: Told,
) -> None:
    """Work through jobs with one process for each of ``settings``, until all have ended.

    The jobs of a process that dies are taken over by the others. When this process is
    interrupted, so are they.

    Parameters
    ----------
    jobs, request, ledger, since_ns, told
        As for `work_through`.
    settings : sequence of InferenceSettings
        Of each worker, in place of the request's.

    Raises
    ------
    TdafdError
        A worker could not begin.
    """
    context = multiprocessing.get_context("spawn")  # CUDA and threads do not outlive a fork
    processes, connections = [], []
    try:
        for each in settings:
            ours, theirs = context.Pipe(duplex=False)
            task = _Task(tuple(jobs), replace(request, settings=each), ledger, since_ns)
            process = context.Process(target=_work, args=(theirs, task), daemon=True)
            process.start()
            theirs.close()  # so that its end is seen
            processes.append(process)
            connections.append(ours)
        _listen(connections, told)
    finally:
        for process in processes:
            if process.is_alive():
                process.terminate()
        for process in processes:
            process.join(PATIENCE_SECONDS)


def _listen(connections: list[Connection], told: Told) -> None:
    """Tell what workers tell, until all have ended."""
    errors: list[TdafdError] = []
    while connections:
        for ready in wait(connections):
            assert isinstance(ready, Connection)
            try:
                message = ready.recv()
            except (EOFError, OSError):
                connections.remove(ready)
                continue
            if isinstance(message, Outcome):
                told(message)
            else:
                errors.append(message)
    if errors:
        raise errors[0]


def _work(connection: Connection, task: _Task) -> None:
    """What a worker does."""
    signal.signal(signal.SIGTERM, _end)
    request = task.request
    try:
        weights = read_weights(request.weights_path, name=request.weights_name)
        if weights.sha256 != request.weights_sha256:
            raise WeightsError(f"{weights.path}: has changed since the run began; run it again")
        work_through(
            task.jobs,
            request,
            weights,
            task.ledger,
            since_ns=task.since_ns,
            told=connection.send,
        )
    except TdafdError as error:
        connection.send(error)
    except (KeyboardInterrupt, BrokenPipeError):  # or whoever listened is gone
        with suppress(OSError):
            connection.close()


def _end(number: int, frame: object) -> NoReturn:
    sys.exit(128 + number)


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
