"""Summary: a table of what has become of each job, in the folder of the results."""

import csv
import io
import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tdafd_cli.batch.jobs import Job
from tdafd_cli.batch.ledger import DONE, FOLDER, Ledger
from tdafd_cli.batch.outcome import COLUMNS, FAILED, PENDING, Outcome
from tdafd_cli.errors import OutputError
from tdafd_cli.output import replacing

NAME = "summary.csv"
_MOST_REWRITES = 5


def write_summary(
    ledger: Ledger, jobs: Sequence[Job], key: str, outcomes: Mapping[Path, Outcome]
) -> None:
    """Write the table from the ledger, so that it tells of all who work on the same folder.

    Parameters
    ----------
    ledger : Ledger
    jobs : sequence of Job
        All of them, those of other shards, too.
    key : str
        Of the request: entries of other requests are left out.
    outcomes : mapping of target to Outcome
        Of this run, for failures that could not be put down.

    Raises
    ------
    OutputError
        It cannot be written.
    """
    rows = _rows(ledger, jobs, key, outcomes)
    for _ in range(_MOST_REWRITES):
        text = io.StringIO(newline="")
        table = csv.DictWriter(text, COLUMNS)
        table.writeheader()
        table.writerows(rows)
        _place(ledger, text.getvalue().encode("utf-8", "surrogateescape"))
        before, rows = rows, _rows(ledger, jobs, key, outcomes)
        if rows == before:  # whoever ended meanwhile may have written what was known before
            return


def _place(ledger: Ledger, content: bytes) -> None:
    """Written in the ledger's folder first, where nothing that is left of it is in the way."""
    path = ledger.folder / NAME
    hidden = ledger.folder / FOLDER / f"{secrets.token_hex(8)}.csv"
    with replacing(hidden) as file:
        file.write(content)
    try:
        hidden.replace(path)
    except OSError as error:
        raise OutputError(f"{path}: cannot be written: {error.strerror}; move it away") from error


def _rows(
    ledger: Ledger, jobs: Sequence[Job], key: str, outcomes: Mapping[Path, Outcome]
) -> list[dict[str, Any]]:
    return [_row(ledger, job, key, outcomes.get(job.target)) for job in jobs]


def _row(ledger: Ledger, job: Job, key: str, outcome: Outcome | None) -> dict[str, Any]:
    if outcome is not None and outcome.status == FAILED:
        return outcome.row()
    entry = ledger.read(job)
    if entry is not None and entry.key == key and entry.status in (DONE, FAILED):
        return {name: entry.row.get(name, "") for name in COLUMNS}
    return Outcome(str(job.source), str(job.target), PENDING).row()
