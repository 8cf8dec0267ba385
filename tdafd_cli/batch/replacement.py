"""Replacement: which files a result may take the place of. Results of tdafd, never a scan."""

from pathlib import Path

from tdafd_cli.batch.ledger import BEGUN, Entry, are_same
from tdafd_cli.errors import OutputError
from tdafd_cli.formats.files import check_target, files_written
from tdafd_cli.formats.marks import is_result

INSIST = "--overwrite-scans"


def check_replaceable(
    source: Path,
    target: Path,
    *,
    overwrite: bool,
    overwrite_scans: bool,
    entry: Entry | None = None,
) -> bool:
    """Whether there is something to replace, which may be replaced.

    A result of tdafd is told by its mark (`marks.is_result`), or by an entry of the ledger.

    Parameters
    ----------
    source, target : Path
    overwrite : bool
        Whether results of tdafd may be replaced.
    overwrite_scans : bool
        Whether anything but the source may be.
    entry : Entry, optional
        What the ledger knows of the target. A result of a job that was begun and never ended is
        replaced without asking.

    Raises
    ------
    OutputError
        It must not be replaced, or the target cannot be written at all.
    """
    there = [path for path in files_written(target) if path.exists()]
    if not there:
        check_target(target, False, source=source)
        return False
    broken_off = entry is not None and entry.status == BEGUN
    check_target(target, overwrite or overwrite_scans or broken_off, source=source)
    if overwrite_scans or _is_ours(target, there, entry):
        return True
    raise OutputError(
        f"{there[0]}: exists and is no result of tdafd, so it may be a scan; choose another name, "
        f"or insist with {INSIST}"
    )


def _is_ours(target: Path, there: list[Path], entry: Entry | None) -> bool:
    first = files_written(target)[0]
    if entry is None:
        return is_result(first)
    if entry.targets and are_same(entry.targets[: len(there)], there):
        return True
    # Of several files the first is the last to appear.
    half = entry.status == BEGUN and not entry.replaced and first not in there
    return half or is_result(first)
