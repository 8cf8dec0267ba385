"""Output files: refused before the work if they must be, written whole or not at all, checked."""

import errno
import hashlib
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from tdafd_cli.errors import OutputError

_CHUNK_BYTES = 1 << 20


def check_writable(target: Path, overwrite: bool = False, *, source: Path | None = None) -> None:
    """Raise `OutputError` if ``target`` cannot, or must not, be written.

    Parameters
    ----------
    target : Path
        File that shall appear, in a folder that exists.
    overwrite : bool
        Whether an existing file may be replaced.
    source : Path, optional
        Input, which is never replaced, even through a link.
    """
    try:
        _check_folder(target)
        if target.exists():
            _check_replaceable(target, overwrite, source)
    except OSError as error:
        raise OutputError(f"{target}: cannot be written: {error.strerror}") from error


@contextmanager
def replacing(target: Path) -> Iterator[BinaryIO]:
    """File to write that becomes ``target`` once all of it is on the disk, or vanishes.

    Until then it stands beside the target under a name that starts with ``.tdafd-``. Where the
    target is a link, the file it leads to is replaced and the link stays.

    Raises
    ------
    OutputError
        Writing failed: the disk is full, say. Whatever stood at ``target`` is still there.
    """
    final = target.resolve()
    partial = _partial(final)
    try:
        with _writing(target), partial.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        with _writing(target):
            partial.replace(final)
    finally:
        with suppress(OSError):
            partial.unlink(missing_ok=True)


@contextmanager
def replacing_all(target: Path) -> Iterator[Path]:
    """Folder to write a target and what belongs to it in, each under the name it is to have.

    Once all of it is on the disk it takes its place in the target's folder, the target last; or
    the folder vanishes with all that is in it.

    Raises
    ------
    OutputError
        As for `replacing`.
    """
    final = target.resolve()
    partial = _partial(final)
    try:
        with _writing(target):
            partial.mkdir()
            yield partial
            paths = sorted(partial.iterdir(), key=lambda path: path.name == target.name)
            for path in paths:
                with path.open("rb+") as file:
                    os.fsync(file.fileno())
            for path in paths:
                place = final if path.name == target.name else final.with_name(path.name)
                path.replace(place)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def sha256(path: Path) -> str:
    """SHA-256 of a file, as 64 hexadecimal digits."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def remove_partials(target: Path) -> None:
    """Remove what processes that were killed while they wrote a target have left of it.

    Whoever asks must know that no living process writes it.
    """
    final = target.resolve()
    for path in final.parent.glob(f"{_partial_stem(final)}*.part"):
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            with suppress(OSError):
                path.unlink()


def _partial(final: Path) -> Path:
    return final.with_name(f"{_partial_stem(final)}{secrets.token_hex(8)}.part")


def _partial_stem(final: Path) -> str:
    """How the names of partial files of a target begin: they tell whose they are, in any length."""
    digest = hashlib.sha256(os.fsencode(final.name)).hexdigest()
    return f".tdafd-{digest[:8]}-"


@contextmanager
def _writing(target: Path) -> Iterator[None]:
    """Turn the system's errors into one that names the target."""
    try:
        yield
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        advice = "free some space or choose another folder" if full else "choose another folder"
        raise OutputError(f"{target}: cannot be written: {error.strerror}; {advice}") from error


def _check_folder(target: Path) -> None:
    folder = target.resolve().parent
    if not folder.is_dir():
        raise OutputError(f"{target}: folder {folder} does not exist; create it first")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise OutputError(f"{target}: no permission to write in {folder}; choose another folder")


def _check_replaceable(target: Path, overwrite: bool, source: Path | None) -> None:
    if source is not None and source.exists() and target.samefile(source):
        raise OutputError(f"{target}: is the input, which is never replaced; choose another name")
    if not target.is_file():
        raise OutputError(f"{target}: exists and is not a file; choose another name")
    if not overwrite:
        raise OutputError(f"{target}: exists; choose another name, or add --overwrite")
    if not os.access(target, os.W_OK):
        raise OutputError(f"{target}: exists and is write-protected; choose another name")
