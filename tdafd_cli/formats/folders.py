"""Files of volumes: those in a folder, and the example that comes with the program."""

from pathlib import Path

from tdafd_cli.errors import DataError, VolumeError
from tdafd_cli.formats.files import SUFFIXES

_WITH_ANOTHER = ".img"  # whose header stands for both

EXAMPLE = "head_2mm.nii.gz"


def volume_paths(folder: Path) -> list[Path]:
    """Volumes of any format anywhere below a folder, sorted; the case of suffixes does not matter.

    Of a pair of files the header is given.

    Raises
    ------
    DataError
        If there is no such folder, or no volume in it.
    """
    if not folder.is_dir():
        raise DataError(f"{folder}: not a folder; give the folder that holds the volumes")
    suffixes = tuple(suffix for suffix in SUFFIXES if suffix != _WITH_ANOTHER)
    paths = sorted(path for path in folder.rglob("*") if path.name.lower().endswith(suffixes))
    if not paths:
        raise DataError(f"{folder}: holds no volume; their names end in {', '.join(suffixes)}")
    return paths


def example_path() -> Path:
    """The bundled volume: in the installed package, or in a source checkout beside it."""
    package = Path(__file__).parents[1]
    installed = package / "_examples" / EXAMPLE
    return installed if installed.is_file() else package.parent / "examples" / EXAMPLE


def check_source(path: str | Path) -> None:
    """Raise `VolumeError` if there is no such file or folder: ask before what takes seconds."""
    if not Path(path).exists():
        raise VolumeError(f"{path}: no such file; check the name")
