"""Outcome: what became of one job, as a line of the summary."""

from dataclasses import asdict, dataclass
from typing import Any

from tdafd_cli.batch.jobs import Job
from tdafd_cli.errors import size_text
from tdafd_cli.inference.result import Result

DONE, FINISHED, FAILED, PENDING = "done", "finished", "failed", "pending"
COLUMNS = (
    "source",
    "target",
    "status",
    "seconds",
    "input_shape",
    "output_shape",
    "input_voxel_size",
    "output_voxel_size",
    "warnings",
    "error",
)
"""Of the summary."""


@dataclass(frozen=True)
class Outcome:
    """What became of one job.

    Attributes
    ----------
    source, target : str
    status : {"done", "finished", "failed", "pending"}
        "finished" is one that was done before; "pending" was not reached.
    seconds : float, optional
        From its opening to its end, waiting for other volumes included not.
    report : dict, optional
        What ``--json`` prints of a volume that was upscaled.
    error : str
        One line.
    """

    source: str
    target: str
    status: str
    seconds: float | None = None
    report: dict[str, Any] | None = None
    error: str = ""

    def row(self) -> dict[str, Any]:
        """Values for each of `COLUMNS`."""
        report = self.report or {}
        row: dict[str, Any] = dict.fromkeys(COLUMNS, "")
        row |= {name: value for name, value in asdict(self).items() if name in COLUMNS}
        row["seconds"] = "" if self.seconds is None else self.seconds
        for name in ("input_shape", "output_shape", "input_voxel_size", "output_voxel_size"):
            row[name] = size_text(report[name]) if name in report else ""
        row["warnings"] = " ".join(each["code"] for each in report.get("warnings", ()))
        return row

    def to_dict(self) -> dict[str, Any]:
        """Plain values: those of the report, with status and error."""
        known = {"source": self.source, "target": self.target}
        return {"status": self.status, **known, **(self.report or {}), "error": self.error or None}


def outcome_of(job: Job, result: Result, seconds: float) -> Outcome:
    """Outcome of a job that gave a result."""
    source, target = str(job.source), str(job.target)
    return Outcome(source, target, DONE, round(seconds, 3), result.report)


def failure(job: Job, error: Exception, seconds: float | None = None) -> Outcome:
    """Outcome of a job that ended with an error, in one line that names the source."""
    text = " ".join(str(error).split()) or type(error).__name__
    if isinstance(error, MemoryError):
        text = f"out of memory: {text}"
    if str(job.source) not in text:
        text = f"{job.source}: {text}"
    return Outcome(str(job.source), str(job.target), FAILED, seconds, error=text)
