"""What is in a folder of results."""

from pathlib import Path


def files_in(folder: Path) -> dict[str, bytes]:
    """Content of all files in a folder that are no part of the ledger."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and ".tdafd" not in path.parts
    }
