"""Files of volumes in folders."""

from pathlib import Path

from tdafd_cli.errors import DataError

VOLUME_SUFFIXES = (".nii", ".nii.gz")


def volume_paths(folder: Path) -> list[Path]:
    """NIfTI files anywhere below a folder, sorted; ``DataError`` if there is none."""
    if not folder.is_dir():
        raise DataError(f"{folder}: not a folder; give the folder that holds the volumes")
    paths = sorted(path for path in folder.rglob("*") if path.name.endswith(VOLUME_SUFFIXES))
    if not paths:
        raise DataError(f"{folder}: holds no .nii or .nii.gz volume")
    return paths
