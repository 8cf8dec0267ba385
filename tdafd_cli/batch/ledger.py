"""Ledger: what has become of each job, one file each in a hidden folder beside the results."""

import json
import secrets
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tdafd_cli.batch.jobs import Job
from tdafd_cli.errors import OutputError
from tdafd_cli.formats.files import files_read, files_written
from tdafd_cli.formats.streams import naming
from tdafd_cli.output import replacing, sha256

FOLDER = ".tdafd"
"""In the target folder; it holds nothing that cannot be made again."""

VERSION = 1
"""Of the entries."""

BEGUN, DONE, FAILED = "begun", "done", "failed"


@dataclass(frozen=True)
class Fingerprint:
    """A file as it was: equal size and time of change, or else equal content, make it the same."""

    name: str
    size: int
    changed_ns: int
    sha256: str


@dataclass(frozen=True)
class Entry:
    """What has become of a job.

    Attributes
    ----------
    status : {"begun", "done", "failed"}
    key : str
        Of the request: see `Request.key`.
    sources, targets : tuple of Fingerprint
        Files that were read, and written.
    replaced : bool
        Whether the target was there when the job began.
    row : dict
        Line of the summary.
    """

    status: str
    key: str
    sources: tuple[Fingerprint, ...] = ()
    targets: tuple[Fingerprint, ...] = ()
    replaced: bool = False
    row: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Ledger:
    """What has become of the jobs whose targets lie in a folder."""

    folder: Path

    def place(self, job: Job) -> Path:
        """File of a job's entry, which need not exist: beside it lie its claims."""
        inside = job.target.relative_to(self.folder)
        return self.folder / FOLDER / inside.with_name(f"{inside.name}.json")

    def read(self, job: Job) -> Entry | None:
        """Entry of a job; None where there is none that can be read."""
        try:
            values = json.loads(self.place(job).read_text(encoding="utf-8"))
            if values.pop("version") != VERSION:
                return None
            for name in ("sources", "targets"):
                values[name] = tuple(Fingerprint(**each) for each in values[name])
            return Entry(**values)
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def write(self, job: Job, entry: Entry) -> None:
        """Put down what has become of a job.

        Raises
        ------
        OutputError
            It cannot be written.
        """
        place = self.place(job)
        make_folder(place.parent)
        text = json.dumps({"version": VERSION, **asdict(entry)}, ensure_ascii=False)
        with replacing(place) as file:
            file.write(text.encode("utf-8", "surrogateescape"))

    def now_ns(self) -> int:
        """Time by the clock of the file system, which machines that share it agree about."""
        make_folder(self.folder / FOLDER)
        probe = self.folder / FOLDER / f"{secrets.token_hex(8)}.now"
        with suppress(OSError):
            probe.touch()
            changed = probe.stat().st_mtime_ns
            probe.unlink()
            return changed
        raise OutputError(f"{probe.parent}: cannot be written in; choose another folder")

    def changed_ns(self, job: Job) -> int:
        """When a job's entry was written; 0 where there is none."""
        try:
            return self.place(job).stat().st_mtime_ns
        except OSError:
            return 0

    def is_finished(self, job: Job, key: str) -> bool:
        """Whether a whole result is there, made from this source as the request asks."""
        entry = self.read(job)
        return (
            entry is not None
            and (entry.status, entry.key) == (DONE, key)
            and are_same(entry.targets, target_files(job))
            and are_same(entry.sources, source_files(job.source))
        )


def fingerprints(paths: Sequence[Path]) -> tuple[Fingerprint, ...]:
    """Fingerprints of files as they are now.

    Raises
    ------
    VolumeError
        One cannot be read.
    """
    found = []
    for path in paths:
        with naming(path):
            about = path.stat()
            digest = sha256(path)
            found.append(Fingerprint(path.name, about.st_size, about.st_mtime_ns, digest))
    return tuple(found)


def are_same(before: Sequence[Fingerprint], paths: Sequence[Path]) -> bool:
    """Whether files are those that fingerprints were taken of."""
    return len(before) == len(paths) > 0 and all(map(_is_same, before, paths))


def source_files(source: Path) -> list[Path]:
    """Files that a source consists of: of a folder, all that lie anywhere in it."""
    if source.is_dir():
        return sorted(path for path in source.rglob("*") if path.is_file())
    return files_read(source)


def target_files(job: Job) -> list[Path]:
    """Files that a job writes: the result, and its sidecar if it is to have one."""
    sidecar = [] if job.sidecar is None else [sidecar_path(job.target)]
    return [*files_written(job.target), *sidecar]


def sidecar_path(target: Path) -> Path:
    """JSON file beside a result of NIfTI."""
    return target.with_name(target.name.partition(".")[0] + ".json")


def make_folder(folder: Path) -> None:
    """Make a folder, and those that it lies in.

    Raises
    ------
    OutputError
        It cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{folder}: cannot be made: {error.strerror}; choose another") from error


def _is_same(before: Fingerprint, path: Path) -> bool:
    try:
        about = path.stat()
        if (path.name, about.st_size) != (before.name, before.size):
            return False
        return about.st_mtime_ns == before.changed_ns or sha256(path) == before.sha256
    except OSError:
        return False
