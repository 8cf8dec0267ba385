"""Claims: which process works on a job, told by files that only one process can make.

A claim is a file beside the entry of its job that names a machine and a process. Whoever makes
the file has the job. The claim of a process that is dead is followed by one of the next number, so
that taking over, too, is making a file that is not there. No clock but that of the file system is
asked, and no lock is held, so that machines may share a folder.
"""

import json
import os
import secrets
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from tdafd_cli.batch.jobs import Job
from tdafd_cli.batch.ledger import Ledger, make_folder
from tdafd_cli.errors import OutputError

BEAT_SECONDS = 15.0
"""How often a process touches the claims that it holds."""

DEAD_SECONDS = 180.0
"""After how long untouched a claim from another machine counts as that of a dead process."""

CLOCK_SECONDS = 10.0
"""By which the times of birth of one process may differ, as clocks are set."""

_MOST_TAKEOVERS = 1000


@dataclass(frozen=True)
class Claim:
    """A job that this process works on."""

    path: Path
    number: int


class _Held:
    """Claims that this process holds."""

    def __init__(self) -> None:
        self.paths: set[Path] = set()
        self.over = threading.Event()

    def beat(self) -> None:
        while not self.over.wait(BEAT_SECONDS):
            for path in list(self.paths):
                with suppress(OSError):
                    os.utime(path)


class Claims:
    """Takes and gives back claims on the jobs of a ledger."""

    def __init__(self, ledger: Ledger, held: _Held) -> None:
        self._ledger, self._held = ledger, held

    def take(self, job: Job) -> Claim | None:
        """Claim a job; None if another process that lives has it."""
        make_folder(self._ledger.place(job).parent)
        for number in range(_MOST_TAKEOVERS):
            path = self._path(job, number)
            if _made(path):
                self._held.paths.add(path)
                return Claim(path, number)
            if _path_exists(self._path(job, number + 1)):
                continue
            if _is_alive(path, self._ledger):
                return None
        return None

    def give_back(self, job: Job, claim: Claim) -> None:
        """End a claim, and those of the dead that it followed."""
        self._held.paths.discard(claim.path)
        for number in range(claim.number + 1):
            with suppress(OSError):
                self._path(job, number).unlink()

    def _path(self, job: Job, number: int) -> Path:
        return self._ledger.place(job).with_suffix(f".{number}.claim")


@contextmanager
def claiming(ledger: Ledger) -> Iterator[Claims]:
    """Claims that are touched now and then, and given back in the end."""
    held = _Held()
    heart = threading.Thread(target=held.beat, daemon=True)
    heart.start()
    try:
        yield Claims(ledger, held)
    finally:
        held.over.set()
        heart.join()
        for path in held.paths:
            with suppress(OSError):
                path.unlink()


def _made(path: Path) -> bool:
    """Make a claim's file, unless it is there."""
    if _path_exists(path):
        return False
    born = psutil.Process().create_time()
    text = json.dumps({"host": socket.gethostname(), "pid": os.getpid(), "born": born})
    whole = path.with_name(f"{secrets.token_hex(8)}.claiming")
    try:
        whole.write_text(text, encoding="utf-8")
        try:
            os.link(whole, path)  # so that no claim is ever seen half written
        except FileExistsError:
            return False
        except OSError:  # a file system without links
            with path.open("x", encoding="utf-8") as file:
                file.write(text)
    except FileExistsError:
        return False
    except OSError as error:
        raise OutputError(f"{path}: cannot be written: {error.strerror}") from error
    finally:
        with suppress(OSError):
            whole.unlink()
    return True


def _path_exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:
        return False


def _is_alive(path: Path, ledger: Ledger) -> bool:
    """Whether the process that made a claim lives; of one on another machine, whether it beats."""
    try:
        about = json.loads(path.read_text(encoding="utf-8"))
        host, pid, born = about["host"], int(about["pid"]), float(about["born"])
    except FileNotFoundError:
        return True  # given back just now: ask again
    except (OSError, ValueError, KeyError, TypeError):
        return _beats(path, ledger)  # it may not be written yet
    if host != socket.gethostname():
        return _beats(path, ledger)
    try:
        process = psutil.Process(pid)
        if process.status() == psutil.STATUS_ZOMBIE:  # dead, and its parent has not asked yet
            return False
        return bool(abs(process.create_time() - born) < CLOCK_SECONDS)
    except psutil.Error:
        return False


def _beats(path: Path, ledger: Ledger) -> bool:
    try:
        silent_ns = ledger.now_ns() - path.stat().st_mtime_ns
    except FileNotFoundError:
        return True
    return silent_ns < DEAD_SECONDS * 1e9
