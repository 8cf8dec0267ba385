"""Find weights by name, or as a file, and load them."""

from pathlib import Path

from tdafd_cli.errors import WeightsError
from tdafd_cli.weights.cache import obtain
from tdafd_cli.weights.file import Weights, read_weights
from tdafd_cli.weights.metadata import SUFFIX
from tdafd_cli.weights.mirror import Progress
from tdafd_cli.weights.registry import bundled_path, find_entry, is_file_name, read_registry

PICKLED_SUFFIXES = frozenset({".bin", ".ckpt", ".pickle", ".pkl", ".pt", ".pth"})


def bundled_names() -> tuple[str, ...]:
    """Names of the weights that come with the program."""
    return tuple(name for name, entry in read_registry().items() if bundled_path(entry).is_file())


def default_name(scale: int) -> str:
    """Name of the weights that serve a scale when none are asked for.

    Raises
    ------
    WeightsError
        If this version knows none for this scale.
    """
    name = f"tdafd-x{scale}"
    if name not in read_registry():
        raise WeightsError(f"{_none_for(scale)}; choose another scale, or give a {SUFFIX} file")
    return name


def load_weights(
    name_or_path: str | Path, *, scale: int | None = None, progress: Progress | None = None
) -> Weights:
    """Read weights and check that a network can be built from them.

    Parameters
    ----------
    name_or_path : str or Path
        A ``.safetensors`` file or a name in the registry. A name's file is taken from the user's
        cache, else from those that come with the program, else it is downloaded into the cache;
        a damaged one is ignored.
    scale : int, optional
        The scale they must serve.
    progress : callable, optional
        Called with the bytes of a download received so far and the bytes of all.

    Raises
    ------
    WeightsError
        In one line: unknown name, no such file, not available, damaged, pickled, not a TDAFD's,
        for another scale, of other shapes than their configuration says, or not finite.
    """
    name, path = _find(name_or_path, progress)
    weights = read_weights(path, name=name)
    if scale is not None and weights.scale != scale:
        raise WeightsError(f"{path}: made for scale {weights.scale}, not {scale}; {_advice(scale)}")
    return weights


def _none_for(scale: int) -> str:
    known = ", ".join(read_registry()) or "none"
    return f"no weights for scale {scale} come with this version, which has {known}"


def _advice(scale: int) -> str:
    fitting = [name for name, entry in read_registry().items() if entry.scale == scale]
    return f"use {' or '.join(fitting)}" if fitting else _none_for(scale)


def _find(name_or_path: str | Path, progress: Progress | None) -> tuple[str, Path]:
    """Name and file of weights; a file goes before a name."""
    text, path = str(name_or_path), Path(name_or_path)
    if path.suffix.lower() in PICKLED_SUFFIXES:
        raise WeightsError(
            f"{path}: pickled checkpoints are refused, as opening one can run code; "
            f"convert it to {SUFFIX}"
        )
    if is_file_name(text):
        return path.stem, path
    return text, obtain(find_entry(text), progress=progress)
