"""A run over many volumes: those that are finished are passed over, the others upscaled."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from tdafd_cli.batch.folder import Told, work_through
from tdafd_cli.batch.jobs import Job
from tdafd_cli.batch.ledger import FAILED, Ledger, make_folder
from tdafd_cli.batch.outcome import FINISHED, PENDING, Outcome
from tdafd_cli.batch.request import Request
from tdafd_cli.batch.summary import write_summary
from tdafd_cli.batch.workers import run_workers, worker_settings
from tdafd_cli.inference.tiling import Progress
from tdafd_cli.machine.devices import choose_device, choose_precision
from tdafd_cli.weights.file import Weights


def run_batch(
    jobs: Sequence[Job],
    folder: Path,
    request: Request,
    weights: Weights,
    *,
    told: Told,
    progress: Progress | None = None,
    devices: Sequence[str] = (),
    workers: int = 1,
    others: Sequence[Job] = (),
) -> Counter[str]:
    """Upscale many volumes, each once, and go on past those that cannot be.

    Parameters
    ----------
    jobs : sequence of Job
        With targets in ``folder``.
    folder : Path
        Made if it is not there. It gets the summary, and the ledger.
    request : Request
    weights : Weights
        Those that the request names.
    told : callable
        Called with the outcome of each job.
    progress : callable, optional
        Over the tiles of a volume, where there is one worker.
    devices : sequence of str
        One or more, dealt out to the workers; the request's by default.
    workers : int
        Processes. Above 1 they share the threads of the request.
    others : sequence of Job
        Jobs that other runs do, of which the summary tells, too.

    Returns
    -------
    Counter
        Number of jobs for each status.

    Raises
    ------
    TdafdError
        What holds for all volumes: a device that is not there, a folder that cannot be written.
    """
    settings = worker_settings(request.settings, devices, workers)
    for each in settings:
        choose_precision(each.precision, choose_device(each.device))
    make_folder(folder)
    ledger, key = Ledger(folder), request.key
    since_ns = ledger.now_ns()
    outcomes: dict[Path, Outcome] = {}

    def tell(outcome: Outcome) -> None:
        outcomes[Path(outcome.target)] = outcome
        told(outcome)

    try:
        pending = []
        for job in jobs:
            if not request.overwrite and ledger.is_finished(job, key):
                tell(_outcome(job, FINISHED))
            else:
                pending.append(job)
        if pending and workers == 1:
            alone = replace(request, settings=settings[0])
            work_through(
                pending, alone, weights, ledger, since_ns=since_ns, told=tell, progress=progress
            )
        elif pending:
            shares = settings[: len(pending)]
            run_workers(pending, request, ledger, shares, since_ns=since_ns, told=tell)
        for job in jobs:
            if job.target not in outcomes:
                tell(_by_others(ledger, job, key))
    finally:
        write_summary(ledger, [*jobs, *others], key, outcomes)
    return Counter(outcome.status for outcome in outcomes.values())


def _outcome(job: Job, status: str, error: str = "") -> Outcome:
    return Outcome(str(job.source), str(job.target), status, error=error)


def _by_others(ledger: Ledger, job: Job, key: str) -> Outcome:
    """Outcome of a job that other processes dealt with."""
    entry = ledger.read(job)
    if entry is not None and entry.key == key and entry.status == FAILED:
        return _outcome(job, FAILED, str(entry.row.get("error", "")))
    if ledger.is_finished(job, key):
        return _outcome(job, FINISHED)
    reason = "not upscaled, as the process that worked on it ended; run the command again"
    return _outcome(job, PENDING, f"{job.source}: {reason}")
