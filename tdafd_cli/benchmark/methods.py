"""Ways to upscale a case: interpolation, trained weights, or somebody else's program."""

import shlex
import subprocess
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import SimpleITK as sitk  # noqa: N813 (its usual name)
import torch

from tdafd_cli.errors import MethodError, VolumeError
from tdafd_cli.evaluation.case import Case
from tdafd_cli.evaluation.validation import estimated
from tdafd_cli.formats.files import read_volume, write_volume
from tdafd_cli.inference.ensemble import passes
from tdafd_cli.inference.settings import InferenceSettings
from tdafd_cli.machine.devices import threads_limited
from tdafd_cli.networks.complexity import complexity, low_edge
from tdafd_cli.networks.tdafd import TDAFD
from tdafd_cli.sampling.factors import Factors, factors_of, factors_text
from tdafd_cli.sampling.interpolation import interpolate
from tdafd_cli.weights.file import Weights

PLACEHOLDERS = ("{input}", "{output}")
LONGEST_REASON = 200  # characters of a failed program's last line

BSPLINE = "bspline"
INTERPOLATIONS = ("nearest", "trilinear", BSPLINE, "sinc")
BASELINES = INTERPOLATIONS[1:]
"""Interpolations; methods are tested against the best of them."""


@dataclass(frozen=True)
class Method:
    """A way to upscale.

    Attributes
    ----------
    name : str
    kind : {"interpolation", "network", "command"}
    estimate : callable
        (sI, sJ, sK) array on the reference's scale, of a case. Raises `TdafdError` if it fails.
    about : mapping
        What a result file says about it.
    """

    name: str
    kind: Literal["interpolation", "network", "command"]
    estimate: Callable[[Case], np.ndarray]
    about: Mapping[str, Any] = field(default_factory=dict)


def interpolations(threads: int | None = None) -> list[Method]:
    """Every baseline; B-spline is SimpleITK's, so that one is not our own code."""
    return [
        Method(name, "interpolation", partial(_interpolated, name=name, threads=threads))
        for name in INTERPOLATIONS
    ]


def trained(weights: Weights, settings: InferenceSettings, *, patch: int) -> Method:
    """Weights, run as `tdafd upscale` runs them; FLOPs are of all passes over a ``patch``^3."""
    config = weights.config
    low = [low_edge(patch, factor, config.grid) for factor in config.factors]
    cost = complexity(partial(TDAFD, config), low)
    count = passes(settings.ensemble, config.factors)
    about = {
        "sha256": weights.sha256,
        "parameters": cost.parameters,
        "flops": cost.flops * count,
        "passes": count,
        "consistency": settings.consistency,
        "patch": low[0] * config.factors[0],
        "config": config.to_dict(),
    }
    estimate = partial(estimated, weights.network(), settings=settings)
    return Method(weights.name, "network", estimate, about)


def external(name: str, command: str, *, seconds: float | None = None) -> Method:
    """Any program that reads one NIfTI file and writes another.

    Parameters
    ----------
    name : str
    command : str
        Split into words as a shell does, but no shell runs it; in each word ``{input}``,
        ``{output}`` and ``{scale}`` are replaced.
    seconds : float, optional
        After which it is ended.

    Raises
    ------
    MethodError
        If the command cannot be split, or lacks ``{input}`` or ``{output}``.
    """
    try:
        words = shlex.split(command)
    except ValueError as error:
        raise MethodError(f"method {name}: {error} in {command!r}; check its quotes") from error
    missing = [part for part in PLACEHOLDERS if not any(part in word for word in words)]
    if missing:
        raise MethodError(
            f"method {name}: its command lacks {' and '.join(missing)}, where the files' names go; "
            f"write {name}='PROGRAM {{input}} {{output}}'"
        )
    run = partial(_run_command, name=name, words=words, seconds=seconds)
    return Method(name, "command", run, {"command": command})


def itk_bspline(low: torch.Tensor, scale: int | Factors) -> np.ndarray:
    """Cubic B-spline by SimpleITK on the face-aligned grid; our own `interpolate` agrees."""
    factors = factors_of(scale)[::-1]  # SimpleITK counts axes from the last
    image = sitk.GetImageFromArray(low.numpy())
    return np.asarray(
        sitk.GetArrayFromImage(
            sitk.Resample(
                image,
                [size * f for size, f in zip(image.GetSize(), factors, strict=True)],
                sitk.Transform(),
                sitk.sitkBSpline,
                [(1 / factor - 1) / 2 for factor in factors],
                [1 / factor for factor in factors],
                image.GetDirection(),
                0.0,
                sitk.sitkFloat32,
            )
        )
    )


def _interpolated(case: Case, *, name: str, threads: int | None) -> np.ndarray:
    low = case.low_intensities()
    if name == BSPLINE:
        sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(threads or torch.get_num_threads())
        return itk_bspline(low, case.factors)
    with threads_limited(threads):
        return interpolate(low, case.factors, name).numpy()


def _run_command(
    case: Case, *, name: str, words: Sequence[str], seconds: float | None
) -> np.ndarray:
    with tempfile.TemporaryDirectory(prefix="tdafd-") as folder:
        source, target = Path(folder, "low.nii.gz"), Path(folder, "high.nii.gz")
        write_volume(source, case.low_volume(), dtype="float32")
        values = {
            "{input}": str(source),
            "{output}": str(target),
            "{scale}": factors_text(case.factors),
        }
        _run(name, [_filled(word, values) for word in words], seconds)
        if not target.is_file():
            raise MethodError(f"method {name}: ended well but wrote no {{output}}")
        try:
            data = np.asarray(read_volume(target).data, np.float32)
        except VolumeError as error:
            raise MethodError(f"method {name}: unusable output: {error}") from error
    expected = tuple(case.reference.high.shape)
    if data.shape != expected:
        raise MethodError(f"method {name}: its output has shape {data.shape}, not {expected}")
    return data


def _filled(word: str, values: Mapping[str, str]) -> str:
    for placeholder, value in values.items():
        word = word.replace(placeholder, value)
    return word


def _run(name: str, words: Sequence[str], seconds: float | None) -> None:
    try:
        ended = subprocess.run(
            words,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=seconds,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise MethodError(f"method {name}: still running after {seconds:g} s, so ended") from error
    except OSError as error:
        reason = f"cannot run {words[0]}: {error.strerror}"
        raise MethodError(f"method {name}: {reason}; check its path") from error
    if ended.returncode != 0:
        lines = ended.stdout.decode(errors="replace").split("\n")
        last = next((line.strip() for line in reversed(lines) if line.strip()), "it said nothing")
        raise MethodError(
            f"method {name}: ended with exit code {ended.returncode}: {last[:LONGEST_REASON]}"
        )
