"""Files of volumes in folders."""

from pathlib import Path

from tdafd_cli.errors import DataError
from tdafd_cli.volumes.nifti import SUFFIXES


def volume_paths(folder: Path) -> list[Path]:
    """NIfTI files anywhere below a folder, sorted; the case of their suffix does not matter.

    Raises
    ------
    DataError
        If there is no such folder, or no volume in it.
    """
    if not folder.is_dir():
        raise DataError(f"{folder}: not a folder; give the folder that holds the volumes")
    paths = sorted(path for path in folder.rglob("*") if path.name.lower().endswith(SUFFIXES))
    if not paths:
        raise DataError(f"{folder}: holds no .nii or .nii.gz volume; check the name")
    return paths
