"""The user's cache of weights, which many processes may share: it never holds half a file."""

import os
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout
from platformdirs import user_cache_path

from tdafd_cli.errors import OutputError, WeightsError
from tdafd_cli.output import replacing
from tdafd_cli.weights.mirror import Mirror, Progress, check_mirror, configured_mirror, fetch
from tdafd_cli.weights.registry import NAME, VERSION, Entry, bundled_path

CACHE_VARIABLE = "TDAFD_CACHE"
PARTIAL_PATTERN = ".tdafd-*.part"  # as `replacing` names them
LOCK_PATTERN = ".*.lock"

POLL_SECONDS = 0.2
"""Between two attempts to lock: each is a request to the server of a shared home."""

STALL_SECONDS = 180.0
"""Without progress, after which a lock is ignored: its holder has stopped or its node is down."""


def cache_folder() -> Path:
    """Folder of downloaded weights: as ``TDAFD_CACHE`` says, or the platform's usual one."""
    if chosen := os.environ.get(CACHE_VARIABLE):
        return Path(chosen).expanduser().absolute()
    return user_cache_path("tdafd", appauthor=False)


def local_copy(entry: Entry, folder: Path) -> Path | None:
    """Intact file of an entry in a cache, or among those that come with the program."""
    candidates = (folder / entry.place, bundled_path(entry))
    return next((path for path in candidates if entry.fits(path)), None)


def obtain(entry: Entry, *, progress: Progress | None = None) -> Path:
    """Intact file of an entry: cached, or bundled, or else downloaded into the cache.

    Raises
    ------
    WeightsError
        In one line, what to do: set a mirror, say, or another cache folder.
    """
    return local_copy(entry, cache_folder()) or fill_cache(entry, progress=progress)


def fill_cache(entry: Entry, *, progress: Progress | None = None) -> Path:
    """Intact file of an entry in the cache, downloaded unless it is there.

    Raises
    ------
    WeightsError
        As for `obtain`.
    """
    try:
        return download(entry, cache_folder(), configured_mirror(), progress=progress)
    except OutputError as error:
        raise WeightsError(f"{error} ({CACHE_VARIABLE} names it)") from error


def download(
    entry: Entry, folder: Path, mirror: Mirror, *, progress: Progress | None = None
) -> Path:
    """Intact file of an entry in a cache or a new mirror, fetched unless it is there.

    Processes that start together wait for the first one's download. That lock only saves
    transfers: where it fails, each fetches its own, and the file still appears whole or not at
    all.

    Raises
    ------
    WeightsError
        If it cannot be fetched.
    OutputError
        If it cannot be written.
    """
    target = folder / entry.place
    if entry.fits(target):
        return target
    check_mirror(entry, mirror)
    _make_folder(target.parent)
    with _turn(target):
        if not entry.fits(target):
            try:
                _replace(target, entry, mirror, progress)
            except WeightsError:
                _remove([_lock_path(target)])  # whoever waits for it has it open
                raise
        _remove(target.parent.glob(PARTIAL_PATTERN))  # others that download it find the target
    return target


def copy_local(entry: Entry, source: Path, folder: Path) -> Path:
    """Copy an intact file to an entry's place in a new mirror.

    Raises
    ------
    OutputError
        If it cannot be written.
    """
    target = folder / entry.place
    if not entry.fits(target):
        _make_folder(target.parent)
        with replacing(target) as file:
            file.write(source.read_bytes())
    return target


def clean(folder: Path) -> list[Path]:
    """Remove what downloads left in a cache, of any version, and nothing else; return its paths."""
    files = [
        path
        for parent in folder.glob("*/*")
        if NAME.fullmatch(parent.parent.name) and VERSION.fullmatch(parent.name)
        for pattern in (f"{parent.parent.name}.safetensors", PARTIAL_PATTERN, LOCK_PATTERN)
        for path in parent.glob(pattern)
    ]
    removed = _remove(files)
    for parent in {path.parent for path in removed}:
        with suppress(OSError):  # not empty
            parent.rmdir()
            parent.parent.rmdir()
    return removed


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(
            f"{folder}: cannot be made: {error.strerror}; choose another folder"
        ) from error


def _replace(target: Path, entry: Entry, mirror: Mirror, progress: Progress | None) -> None:
    try:
        with replacing(target) as file:
            fetch(entry, mirror, file, progress=progress)
    except OutputError:
        if not entry.fits(target):  # another process may have come first
            raise


def _remove(paths: Iterator[Path] | list[Path]) -> list[Path]:
    removed = []
    for path in paths:
        with suppress(OSError):
            path.unlink()
            removed.append(path)
    return removed


def _lock_path(target: Path) -> Path:
    return target.with_name(f".{target.name}.lock")


@contextmanager
def _turn(target: Path) -> Iterator[None]:
    """Wait until no other process downloads a file, or the one that does makes no progress."""
    lock = FileLock(_lock_path(target))
    with warnings.catch_warnings(), suppress(OSError):  # if locking fails, writing will say why
        warnings.simplefilter(
            "ignore"
        )  # of filelock: a file system without locks gets marker files
        _wait_for(lock, target)
    try:
        yield
    finally:
        lock.release()


def _wait_for(lock: FileLock, target: Path) -> None:
    """Take a lock, or return without it when its holder makes no progress."""
    seen: dict[str, int] = {}
    since = time.monotonic()
    while time.monotonic() - since < STALL_SECONDS:
        with suppress(Timeout):
            lock.acquire(timeout=1.0, poll_interval=POLL_SECONDS)
            return
        sizes = _partial_sizes(target.parent)
        if sizes != seen:
            seen, since = sizes, time.monotonic()


def _partial_sizes(folder: Path) -> dict[str, int]:
    sizes = {}
    for path in folder.glob(PARTIAL_PATTERN):
        with suppress(OSError):  # it has just become the target
            sizes[path.name] = path.stat().st_size
    return sizes
