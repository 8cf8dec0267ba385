"""Files of volumes: those in a folder, and the example that comes with the program."""

from pathlib import Path

from tdafd_cli.errors import DataError
from tdafd_cli.volumes.nifti import SUFFIXES

EXAMPLE = "head_2mm.nii.gz"


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
        raise DataError(f"{folder}: holds no .nii or .nii.gz volume")
    return paths


def example_path() -> Path:
    """The bundled volume: in the installed package, or in a source checkout beside it."""
    package = Path(__file__).parents[1]
    installed = package / "_examples" / EXAMPLE
    return installed if installed.is_file() else package.parent / "examples" / EXAMPLE
