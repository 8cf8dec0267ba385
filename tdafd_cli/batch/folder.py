"""One process's part of a batch: a volume is read and another written while the network works."""

import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

from tdafd_cli.batch.claims import Claim, Claims, claiming
from tdafd_cli.batch.jobs import Job
from tdafd_cli.batch.ledger import (
    BEGUN,
    DONE,
    FAILED,
    Entry,
    Fingerprint,
    Ledger,
    fingerprints,
    make_folder,
    source_files,
    target_files,
)
from tdafd_cli.batch.outcome import Outcome, failure, outcome_of
from tdafd_cli.batch.replacement import check_replaceable
from tdafd_cli.batch.request import Request
from tdafd_cli.batch.sidecar import write_sidecar
from tdafd_cli.errors import TdafdError
from tdafd_cli.inference.files import Opened, open_source, upscale_opened
from tdafd_cli.inference.result import Result
from tdafd_cli.inference.tiling import Progress
from tdafd_cli.output import remove_partials
from tdafd_cli.weights.file import Weights

POLL_SECONDS = 1.0
"""Between looks at jobs that other processes work on."""

Told = Callable[[Outcome], object]


@dataclass(frozen=True, eq=False)
class _Started:
    """A job that this process has claimed and read."""

    job: Job
    opened: Opened
    sources: tuple[Fingerprint, ...]
    replaces: bool
    seconds: float


@dataclass
class _Batch:
    """What the steps of all jobs share."""

    request: Request
    weights: Weights
    ledger: Ledger
    claims: Claims
    since_ns: int
    told: Told
    queue: deque[Job]
    held: dict[Job, Claim] = field(default_factory=dict)


def work_through(
    jobs: Sequence[Job],
    request: Request,
    weights: Weights,
    ledger: Ledger,
    *,
    since_ns: int,
    told: Told,
    progress: Progress | None = None,
) -> None:
    """Upscale all jobs that are not finished, nor being worked on by another process.

    One volume at most waits to be upscaled, and one to be written. Jobs that others hold are
    waited for, and taken over if those die. Interrupted, the volume that is being written is
    finished and the others are dropped; all claims are given back.

    Parameters
    ----------
    jobs : sequence of Job
    request : Request
    weights : Weights
    ledger : Ledger
    since_ns : int
        Of the file system's clock, when this run began: what has ended since then stays as it is.
    told : callable
        Called with the outcome of each job that was done, or failed, here.
    progress : callable, optional
        As for `upscale_file`, for one volume after the other.
    """
    with (
        claiming(ledger) as claims,
        ThreadPoolExecutor(1, "read") as reader,
        ThreadPoolExecutor(1, "write") as writer,
    ):
        batch = _Batch(request, weights, ledger, claims, since_ns, told, deque(jobs))
        ahead: _Reading | None = None
        writing: _Writing | None = None
        try:
            while True:
                ahead = ahead or _read_next(batch, reader)
                if ahead is None:
                    _written(batch, writing)
                    writing = None
                    if not batch.queue:
                        return
                    time.sleep(POLL_SECONDS)
                    continue
                started, ahead = _was_read(batch, ahead), _read_next(batch, reader)
                result = None if started is None else _upscaled(batch, started, progress)
                if started is None or result is None:
                    continue
                _written(batch, writing)
                future = writer.submit(_write, batch, started, result)
                writing, started, result = _Writing(started.job, future), None, None
        finally:
            if ahead is not None:
                ahead.future.cancel()
            _written(batch, writing)


@dataclass(frozen=True)
class _Reading:
    job: Job
    future: "Future[_Started]"


@dataclass(frozen=True)
class _Writing:
    job: Job
    future: "Future[Outcome]"


def _read_next(batch: _Batch, reader: ThreadPoolExecutor) -> _Reading | None:
    """Begin to read the next job that nobody works on; those of others go to the queue's end."""
    for _ in range(len(batch.queue)):
        job = batch.queue.popleft()
        if _has_ended(batch, job):
            continue
        try:
            claim = batch.claims.take(job)
        except TdafdError as error:
            batch.told(failure(job, error))
            continue
        if claim is None:
            batch.queue.append(job)
            continue
        if _has_ended(batch, job):  # between the look and the claim
            batch.claims.give_back(job, claim)
            continue
        if claim.number > 0:
            for file in target_files(job):
                remove_partials(file)
        batch.held[job] = claim
        return _Reading(job, reader.submit(_read, batch, job))
    return None


def _has_ended(batch: _Batch, job: Job) -> bool:
    """Whether another process has dealt with a job in this run, or finished it whenever."""
    key = batch.request.key
    if batch.ledger.changed_ns(job) > batch.since_ns:
        entry = batch.ledger.read(job)
        if entry is not None and entry.key == key and entry.status in (DONE, FAILED):
            return True
    return not batch.request.overwrite and batch.ledger.is_finished(job, key)


def _read(batch: _Batch, job: Job) -> _Started:
    started = time.perf_counter()
    request, ledger = batch.request, batch.ledger
    make_folder(job.target.parent)
    entry = ledger.read(job)
    replaces = check_replaceable(
        job.source,
        job.target,
        overwrite=request.overwrite,
        overwrite_scans=request.overwrite_scans,
        entry=entry,
    )
    opened = open_source(
        job.source, job.target, selection=request.selection, dtype=request.dtype, read=True
    )
    sources = fingerprints(source_files(job.source))
    known = () if entry is None else entry.targets
    ledger.write(job, Entry(BEGUN, request.key, sources, known, replaces))
    return _Started(job, opened, sources, replaces, time.perf_counter() - started)


def _was_read(batch: _Batch, reading: _Reading) -> _Started | None:
    try:
        return reading.future.result()
    except (TdafdError, MemoryError) as error:
        _failed(batch, reading.job, error)
        return None


def _upscaled(
    batch: _Batch, started: _Started, progress: Progress | None
) -> tuple[Result, float] | None:
    before, request = time.perf_counter(), batch.request
    try:
        result = upscale_opened(
            started.opened,
            started.job.target,
            weights=batch.weights,
            request=request.grid,
            settings=request.settings,
            normalise=request.normalise,
            dtype=request.dtype,
            overwrite=started.replaces,
            progress=progress,
        )
    except (TdafdError, MemoryError) as error:
        _failed(batch, started.job, error)
        return None
    return result, time.perf_counter() - before


def _write(batch: _Batch, started: _Started, upscaled: tuple[Result, float]) -> Outcome:
    before = time.perf_counter()
    job, (result, seconds) = started.job, upscaled
    if not started.opened.is_series:
        result = result.save(job.target, started.replaces)
    write_sidecar(job, result, started.sources)
    targets = fingerprints(target_files(job))
    total = started.seconds + seconds + time.perf_counter() - before
    outcome = outcome_of(job, result, total)
    entry = Entry(DONE, batch.request.key, started.sources, targets, row=outcome.row())
    batch.ledger.write(job, entry)
    return outcome


def _written(batch: _Batch, writing: _Writing | None) -> None:
    """Wait for a volume to be written, and tell of it."""
    if writing is None:
        return
    try:
        outcome = writing.future.result()
    except (TdafdError, MemoryError) as error:
        _failed(batch, writing.job, error)
        return
    _give_back(batch, writing.job)
    batch.told(outcome)


def _failed(batch: _Batch, job: Job, error: Exception) -> None:
    outcome = failure(job, error)
    before = batch.ledger.read(job)
    known = () if before is None else before.targets
    try:
        entry = Entry(FAILED, batch.request.key, targets=known, row=outcome.row())
        batch.ledger.write(job, entry)
    except TdafdError:  # the disk is full, perhaps: what is told must do
        pass
    _give_back(batch, job)
    batch.told(outcome)


def _give_back(batch: _Batch, job: Job) -> None:
    claim = batch.held.pop(job, None)
    if claim is not None:
        batch.claims.give_back(job, claim)
