"""Jobs: which sources there are, and which file each is upscaled into."""

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from tdafd_cli.errors import DataError, OutputError
from tdafd_cli.formats.dicom import is_dicom
from tdafd_cli.formats.files import SUFFIXES, files_written

_VOXELS = ".img"  # whose header, beside it, stands for both
_LISTED = tuple(suffix for suffix in SUFFIXES if suffix != _VOXELS)
_PACKED_PAIR = (".hdr.gz", ".img.gz")
DEFAULT_SUFFIX = ".nii.gz"
"""Of what is made of a folder of DICOM files, or of a file whose name tells no format."""


@dataclass(frozen=True)
class Job:
    """One source, and the file that it is upscaled into.

    Attributes
    ----------
    source, target : Path
    sidecar : dict, optional
        What a JSON file beside the target shall say; see `bids`.
    """

    source: Path
    target: Path
    sidecar: dict[str, Any] | None = field(default=None, compare=False)


def find_jobs(
    sources: Sequence[Path], folder: Path, *, recursive: bool = False, pattern: str = "*"
) -> list[Job]:
    """Jobs for files and folders, each with a target of its own within a folder.

    A folder that directly holds DICOM files is one volume. Of any other the volumes in it are
    taken, told by their suffixes, and the folders in it that are DICOM series; names that begin
    with a dot, and the target folder, are passed over. Files that were named themselves are taken
    whatever they are called.

    Parameters
    ----------
    sources : sequence of Path
        Files and folders, which may not exist.
    folder : Path
        Where the results go.
    recursive : bool
        Whether folders are searched to the bottom. Their tree is mirrored.
    pattern : str
        What the names of files in folders must match, as in ``*_T1w.nii.gz``.

    Raises
    ------
    DataError
        A folder holds no volume.
    OutputError
        Two sources would have one target, or the target folder is that of the sources.
    """
    jobs: list[Job] = []
    for source in _without_voxels(sources):
        if not source.is_dir() or is_series(source):
            jobs.append(Job(source, folder / target_name(source)))
            continue
        if folder.exists() and folder.samefile(source):
            raise OutputError(f"{folder}: is the folder of the input; choose another one")
        found = [
            path for path in _volumes(source, folder, recursive) if fnmatch(path.name, pattern)
        ]
        if not found:
            raise DataError(_nothing_in(source, recursive, pattern))
        for path in found:
            beside = path.relative_to(source).parent
            jobs.append(Job(path, folder / beside / target_name(path)))
    check_targets(jobs)
    return jobs


def check_targets(jobs: Iterable[Job]) -> None:
    """Raise `OutputError` if two sources would be upscaled into one file."""
    taken: dict[str, Job] = {}
    for job in jobs:
        for file in files_written(job.target):
            other = taken.setdefault(os.path.normcase(file), job)
            if other is not job:
                raise OutputError(
                    f"{other.source} and {job.source} would both become {file}; rename one, or "
                    "upscale them into two folders"
                )


def target_name(source: Path) -> str:
    """Name of the result of a source: its own, where that names a format that is written.

    >>> target_name(Path("a.NII")), target_name(Path("b.img.gz")), target_name(Path("c"))
    ('a.NII', 'b.nii.gz', 'c.nii.gz')
    """
    name = source.resolve().name if source.name in ("", "..") else source.name
    lower = name.lower()
    if lower.endswith(SUFFIXES) and not source.is_dir():
        return name
    for suffix in _PACKED_PAIR:
        if lower.endswith(suffix):
            return name[: -len(suffix)] + DEFAULT_SUFFIX
    return name + DEFAULT_SUFFIX


def is_series(folder: Path) -> bool:
    """Whether a folder directly holds DICOM files, so that it is one volume."""
    return any(_is_image(path) for path in _entries(folder))


def _volumes(source: Path, target: Path, recursive: bool) -> Iterator[Path]:
    for path in _entries(source):
        if path.is_dir():
            if path.resolve() == target.resolve():
                continue
            if is_series(path):
                yield path
            elif recursive:
                yield from _volumes(path, target, recursive)
        elif path.name.lower().endswith(_LISTED):
            yield path


def _is_image(path: Path) -> bool:
    if path.name.lower().endswith(SUFFIXES) or not path.is_file():
        return False
    try:
        return is_dicom(path)
    except OSError:  # whoever reads the folder says so
        return False


def _entries(folder: Path) -> list[Path]:
    try:
        return sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    except OSError as error:
        raise DataError(f"{folder}: cannot be searched: {error.strerror}") from error


def _without_voxels(sources: Sequence[Path]) -> list[Path]:
    """Sources once each, without the second file of a pair whose header is among them."""
    once = list(dict.fromkeys(sources))
    stems = {path.with_suffix("") for path in once if path.suffix.lower() == ".hdr"}
    return [
        path
        for path in once
        if not (path.suffix.lower() == _VOXELS and path.with_suffix("") in stems)
    ]


def _nothing_in(source: Path, recursive: bool, pattern: str) -> str:
    matching = f" whose name matches {pattern}" if pattern != "*" else ""
    deeper = "" if recursive else "; --recursive looks into its folders"
    return f"{source}: holds no volume{matching}{deeper}"
