"""Find weights by name, or as a file, and load them."""

from functools import lru_cache
from pathlib import Path

from tdafd_cli.errors import WeightsError
from tdafd_cli.sampling.factors import Factors, factors_of, factors_text
from tdafd_cli.weights.cache import obtain
from tdafd_cli.weights.file import Weights, read_weights
from tdafd_cli.weights.metadata import SUFFIX
from tdafd_cli.weights.mirror import Progress
from tdafd_cli.weights.registry import bundled_path, find_entry, is_file_name, read_registry

DEFAULT_SCALE = 2
"""Used where neither a scale nor weights are given."""

MOST_KEPT = 4
"""Weights that `kept_weights` keeps at once: one for each scale there is, and one more."""

PICKLED_SUFFIXES = frozenset({".bin", ".ckpt", ".pickle", ".pkl", ".pt", ".pth"})


def bundled_names() -> tuple[str, ...]:
    """Names of the weights that come with the program."""
    return tuple(name for name, entry in read_registry().items() if bundled_path(entry).is_file())


def default_name(scale: int | Factors | None = None) -> str:
    """Name of the default weights for a scale; None stands for `DEFAULT_SCALE`.

    Those that make one axis finer alone are named after thick slices.

    Raises
    ------
    WeightsError
        If this version knows none for this scale.
    """
    factors = factors_of(scale or DEFAULT_SCALE)
    name = f"tdafd-x{factors[2]}" if min(factors) > 1 else f"tdafd-thick-x{max(factors)}"
    if name not in read_registry():
        advice = "choose another scale" if min(factors) > 1 else "make all axes finer by --scale 2"
        raise WeightsError(f"{_none_for(factors, name)}; {advice}, or give a {SUFFIX} file")
    return name


def load_weights(
    name_or_path: str | Path,
    *,
    scale: int | Factors | None = None,
    progress: Progress | None = None,
) -> Weights:
    """Read weights and check that a network can be built from them.

    Parameters
    ----------
    name_or_path : str or Path
        A ``.safetensors`` file or a name in the registry. A name's file is taken from the user's
        cache, else from those that come with the program, else it is downloaded into the cache;
        a damaged one is ignored.
    scale : int or (i, j, k), optional
        The scale they must serve, or factors for each axis.
    progress : callable, optional
        Called with the bytes of a download received so far and the bytes of all.

    Raises
    ------
    WeightsError
        In one line: unknown name, no such file, not available, damaged, pickled, not a TDAFD's,
        for another scale, of other shapes than their configuration says, or not finite.
    """
    name, path = _find(name_or_path, progress)
    return serving(scale, read_weights(path, name=name))


def kept_weights(name_or_path: str | Path, *, scale: int | Factors | None = None) -> Weights:
    """Weights as `load_weights` gives them, read again only if their file has changed.

    The same file gives the same record, and with it the same network (see
    `tdafd_cli.inference.upscaling.network_on`), as long as its name, path, size and time of change
    are the same. The last few are kept, so that calls may alternate between scales.

    Raises
    ------
    WeightsError
        As for `load_weights`.
    """
    name, path = _find(name_or_path, None)
    try:
        about = path.stat()
    except OSError:  # read_weights says why
        return load_weights(name_or_path, scale=scale)
    return serving(scale, _read_once(path.resolve(), name, about.st_size, about.st_mtime_ns))


@lru_cache(maxsize=MOST_KEPT)
def _read_once(path: Path, name: str, size: int, changed_ns: int) -> Weights:
    return read_weights(path, name=name)


def serving(scale: int | Factors | None, weights: Weights) -> Weights:
    """The weights, unless they are for another scale than the one asked for, if one is.

    Which axis slices follow one another along does not matter: it is brought last.
    """
    if scale is None:
        return weights
    factors = _slices_last(factors_of(scale))
    if weights.factors != factors:
        raise WeightsError(
            f"{weights.path}: made for scale {factors_text(weights.factors)}, not "
            f"{factors_text(factors)}; {_advice(factors)}"
        )
    return weights


def _slices_last(factors: Factors) -> Factors:
    i, j, k = factors if min(factors) > 1 else sorted(factors)
    return i, j, k


def _none_for(factors: Factors, name: str | None = None) -> str:
    known = ", ".join(read_registry()) or "none"
    missing = f"{factors_text(factors)}{'' if name is None or min(factors) > 1 else f' ({name})'}"
    return f"no weights for scale {missing} come with this version, which has {known}"


def _advice(factors: Factors) -> str:
    fitting = [name for name, entry in read_registry().items() if entry.factors == factors]
    return f"use {' or '.join(fitting)}" if fitting else _none_for(factors)


def _find(name_or_path: str | Path, progress: Progress | None) -> tuple[str, Path]:
    """Name and file of weights; a file takes precedence over a name."""
    text, path = str(name_or_path), Path(name_or_path)
    if path.suffix.lower() in PICKLED_SUFFIXES:
        raise WeightsError(
            f"{path}: pickled checkpoints are refused, as opening one can run code; "
            f"convert it to {SUFFIX}"
        )
    if is_file_name(text):
        return path.stem, path
    return text, obtain(find_entry(text), progress=progress)
