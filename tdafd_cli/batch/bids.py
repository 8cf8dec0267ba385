"""BIDS: anatomical images of a data set, and the derivative data set that is made of them.

The rules are those of the Brain Imaging Data Structure 1.10: https://bids-specification.readthedocs.io.
"""

import json
import re
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from tdafd_cli import __version__
from tdafd_cli.batch.jobs import Job, check_targets
from tdafd_cli.batch.ledger import FOLDER as LEDGER
from tdafd_cli.batch.ledger import make_folder
from tdafd_cli.batch.summary import NAME as SUMMARY
from tdafd_cli.errors import DataError, OutputError
from tdafd_cli.output import replacing

BIDS_VERSION = "1.10.0"
SUFFIXES = ("T1w", "T2w", "PDw", "T2starw", "FLAIR", "inplaneT1", "inplaneT2", "UNIT1", "angio")
"""Of images that are upscaled if none are named: all whose numbers are intensities."""

DESCRIPTION = "dataset_description.json"
LABEL = "TDAFD"
DATASET = "raw"
"""Name of the source data set in BIDS URIs."""

_NAME = re.compile(
    r"(?P<entities>(?:[a-zA-Z]+-[a-zA-Z0-9+]+_)+)(?P<suffix>\w+)(?P<ending>\.nii(\.gz)?)"
)
_PROGRAM = "tdafd"


def find_bids_jobs(
    dataset: Path,
    folder: Path,
    *,
    participants: Collection[str] = (),
    suffixes: Collection[str] = (),
    command: str = "",
) -> list[Job]:
    """Jobs for the anatomical images of a BIDS data set, with targets as its derivatives.

    Parameters
    ----------
    dataset : Path
    folder : Path
        Of the derivative data set.
    participants : collection of str
        Labels, with or without ``sub-``; all by default.
    suffixes : collection of str
        As in ``T1w``; `SUFFIXES` by default.
    command : str
        For the sidecars.

    Raises
    ------
    DataError
        It is no BIDS data set, lacks a participant that was named, or holds no such image.
    """
    if not (dataset / DESCRIPTION).is_file():
        raise DataError(f"{dataset}: no BIDS data set, as it has no {DESCRIPTION}; drop --bids")
    subjects = _subjects(dataset, {label.removeprefix("sub-") for label in participants})
    wanted = set(suffixes or SUFFIXES)
    jobs = [
        Job(
            path, folder / path.relative_to(dataset).parent / name, _sidecar(path, dataset, command)
        )
        for subject in subjects
        for path in _images(subject)
        if (name := derivative_name(path.name, wanted)) is not None
    ]
    if not jobs:
        raise DataError(
            f"{dataset}: holds no anatomical image that ends in {', '.join(sorted(wanted))}; name "
            "others with --suffix"
        )
    check_targets(jobs)
    return jobs


def derivative_name(name: str, suffixes: Collection[str]) -> str | None:
    """Name of the derivative of an image; None of one that has another suffix or is none.

    >>> derivative_name("sub-01_ses-2_run-1_T1w.nii", {"T1w"})
    'sub-01_ses-2_run-1_desc-TDAFD_T1w.nii'
    """
    match = _NAME.fullmatch(name)
    if match is None or match["suffix"] not in suffixes:
        return None
    entities = [word for word in match["entities"].split("_") if word]
    entities = [word for word in entities if not word.startswith("desc-")]
    return "_".join([*entities, f"desc-{LABEL}", match["suffix"]]) + match["ending"]


def write_description(dataset: Path, folder: Path) -> None:
    """Describe the derivative data set, and keep what is not of BIDS from its validator.

    Raises
    ------
    OutputError
        The folder is another data set, or cannot be written.
    """
    if folder.exists() and folder.samefile(dataset):
        raise OutputError(f"{folder}: is the input; choose another folder, as derivatives/tdafd")
    make_folder(folder)
    path = folder / DESCRIPTION
    if path.exists() and not _is_own(path):
        raise OutputError(f"{folder}: holds another BIDS data set; choose another folder")
    url = dataset.resolve().as_uri()
    content = {
        "Name": "TDAFD super-resolution",
        "BIDSVersion": BIDS_VERSION,
        "DatasetType": "derivative",
        "GeneratedBy": [
            {
                "Name": _PROGRAM,
                "Version": __version__,
                "Description": "3D MRI super-resolution of anatomical images",
            }
        ],
        "SourceDatasets": [{"URL": url}],
        "DatasetLinks": {DATASET: url},
    }
    with replacing(path) as file:
        file.write((json.dumps(content, indent=2) + "\n").encode())
    ignored = folder / ".bidsignore"
    if not ignored.exists():
        with replacing(ignored) as file:
            file.write(f"{SUMMARY}\n{LEDGER}/\n".encode())


def _subjects(dataset: Path, labels: Collection[str]) -> list[Path]:
    found = sorted(path for path in dataset.glob("sub-*") if path.is_dir())
    known = {path.name.removeprefix("sub-") for path in found}
    missing = sorted(set(labels) - known)
    if missing:
        raise DataError(f"{dataset}: holds no participant {', '.join(missing)}; check the labels")
    return [path for path in found if not labels or path.name.removeprefix("sub-") in labels]


def _images(subject: Path) -> Iterator[Path]:
    for folder in (subject, *sorted(subject.glob("ses-*"))):
        yield from sorted((folder / "anat").glob("sub-*.nii*"))


def _sidecar(path: Path, dataset: Path, command: str) -> dict[str, Any]:
    uri = f"bids:{DATASET}:{path.relative_to(dataset).as_posix()}"
    return {
        "Description": "Upscaled by TDAFD, a network for 3D MRI super-resolution",
        "Sources": [uri],
        "SkullStripped": _is_stripped(path),
        "Command": command,
    }


def _is_stripped(path: Path) -> bool:
    """What the image's own sidecar says; a raw image is whole if it says nothing."""
    beside = path.with_name(path.name.partition(".")[0] + ".json")
    try:
        values = json.loads(beside.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(values, dict) and values.get("SkullStripped") is True


def _is_own(path: Path) -> bool:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        names = [each.get("Name") for each in values.get("GeneratedBy", [])]
    except (OSError, ValueError, AttributeError, TypeError):
        return False
    return values.get("DatasetType") == "derivative" and _PROGRAM in names
