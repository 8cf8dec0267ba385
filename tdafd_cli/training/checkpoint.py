"""Checkpoint files: everything that training needs to go on exactly where it stopped."""

import pickle
import warnings
from pathlib import Path
from typing import Any

import torch

from tdafd_cli.errors import DataError
from tdafd_cli.output import replacing


def write_checkpoint(path: Path, content: dict[str, Any]) -> None:
    """Write tensors and plain values, whole or not at all."""
    with replacing(path) as file:
        torch.save(content, file)


def read_checkpoint(path: Path, device: torch.device) -> dict[str, Any]:
    """What :func:`write_checkpoint` wrote, its tensors on a device.

    Raises
    ------
    DataError
        If the file is missing or is not a whole checkpoint. Only tensors and plain values are
        unpickled, never code.
    """
    if not path.is_file():
        raise missing_checkpoint(path)
    try:
        with warnings.catch_warnings():  # of pickles that are not torch's: refused below
            warnings.simplefilter("ignore", UserWarning)
            content: dict[str, Any] = torch.load(path, map_location=device, weights_only=True)
    except (RuntimeError, EOFError, pickle.UnpicklingError) as error:
        raise DataError(f"{path}: not a whole checkpoint; start again without --resume") from error
    return content


def missing_checkpoint(path: Path) -> DataError:
    """Error for a run without a checkpoint to resume from."""
    return DataError(f"{path}: no checkpoint to resume from; start without --resume")
