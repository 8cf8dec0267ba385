"""Options of the commands: their choices, their checks, and those that several commands take."""

import math
import os
import re
from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from tdafd_cli.formats.selection import VOLUMES

DASH = Path("-")
SHARD = re.compile(r"(\d+)/(\d+)")
SCALES = (2, 3, 4)
SLICE_SCALES = (2, 3, 4, 5, 6)
DEVICE = re.compile(r"auto|cpu|mps|cuda(:\d+)?")


class Precision(str, Enum):
    """Values of ``--precision``."""

    AUTO = "auto"
    FP32 = "fp32"
    BF16 = "bf16"
    FP16 = "fp16"


class BackendName(str, Enum):
    """Values of ``--backend``."""

    AUTO = "auto"
    TORCH = "torch"
    OPENVINO = "openvino"


class PassesName(str, Enum):
    """Values of ``--ensemble``."""

    AUTO = "auto"
    ONE = "1"
    TWO = "2"
    FOUR = "4"
    EIGHT = "8"

    @property
    def passes(self) -> int | str:
        """The number, or "auto"."""
        return self.value if self is PassesName.AUTO else int(self.value)


class ConsistencyName(str, Enum):
    """Values of ``--consistency``."""

    AUTO = "auto"
    NONE = "none"
    KSPACE = "kspace"
    GAUSSIAN = "gaussian"
    AVERAGE = "average"


class LabelsName(str, Enum):
    """Values of ``--labels``."""

    AUTO = "auto"
    YES = "yes"
    NO = "no"


class OutputDtype(str, Enum):
    """Values of ``--dtype``."""

    INPUT = "input"
    UINT8 = "uint8"
    INT16 = "int16"
    UINT16 = "uint16"
    INT32 = "int32"
    UINT32 = "uint32"
    FLOAT32 = "float32"
    FLOAT64 = "float64"


class PartName(str, Enum):
    """Values of ``--part``."""

    MAGNITUDE = "magnitude"
    REAL = "real"
    IMAGINARY = "imaginary"


class NormalisationName(str, Enum):
    """Values of ``--normalise``."""

    SERIES = "series"
    VOLUME = "volume"


def check_device(name: str) -> str:
    """Refuse what names no device as a usage error."""
    if not DEVICE.fullmatch(name):
        raise typer.BadParameter(f"{name!r} is none of auto, cpu, cuda, cuda:N, mps")
    return name


def check_devices(names: str) -> str:
    """Refuse what names no devices, divided by commas, as a usage error."""
    for name in names.split(","):
        check_device(name)
    return names


def check_workers(workers: str) -> str:
    """Refuse what is no number of processes as a usage error."""
    if workers != "auto" and not (workers.isdecimal() and int(workers) > 0):
        raise typer.BadParameter(f"{workers!r} is neither auto nor a number of processes")
    return workers


def check_shard(shard: str | None) -> str | None:
    """Refuse what is no part of a whole, as in 3/20, as a usage error."""
    match = None if shard is None else SHARD.fullmatch(shard)
    if shard is not None and (match is None or not 1 <= int(match[1]) <= int(match[2])):
        raise typer.BadParameter(f"{shard!r} is not like 3/20, from 1/20 to 20/20")
    return shard


def preset(
    fast: bool, best: bool, ensemble: PassesName, precision: Precision
) -> tuple[PassesName, Precision]:
    """Passes and precision under ``--fast`` or ``--best``, which leave alone what was given."""
    if fast and best:
        raise typer.BadParameter("--fast and --best exclude each other")
    chosen = ensemble, precision
    if fast:
        chosen = PassesName.ONE, Precision.AUTO
    elif best:
        chosen = PassesName.EIGHT, Precision.FP32
    return (
        chosen[0] if ensemble is PassesName.AUTO else ensemble,
        chosen[1] if precision is Precision.AUTO else precision,
    )


def check_tile(tile: str) -> str:
    """Refuse what is no edge of a tile as a usage error."""
    if tile != "auto" and not (tile.isdecimal() and int(tile) > 0):
        raise typer.BadParameter(f"{tile!r} is neither auto nor a number of voxels")
    return tile


def check_scale(text: str | None) -> str | None:
    """Refuse what is no scale as a usage error: ``2``, or a factor for each axis, ``1x1x4``."""
    if text is None:
        return None
    words = text.lower().split("x")
    if not all(word.isdecimal() for word in words) or len(words) not in (1, 3):
        raise typer.BadParameter(f"{text!r} is neither a number nor of the form 1x1x4")
    factors = [int(word) for word in words]
    finer = [factor for factor in factors if factor != 1]
    if len(words) == 3 and len(finer) == 1 and finer[0] in SLICE_SCALES:
        return text
    if len(set(factors)) > 1:
        raise typer.BadParameter(
            f"{text!r}: weights make all axes finer alike, by 2 to 4, or one axis alone, by 2 to 6"
        )
    if factors[0] not in (SLICE_SCALES if len(words) == 1 else SCALES):
        raise typer.BadParameter(f"{text!r} is not in the range 2 to 4, or 2 to 6 for one axis")
    return text


def factors_given(text: str | None) -> tuple[int, int, int] | None:
    """Factors along I, J and K of a checked scale."""
    if text is None:
        return None
    words = text.lower().split("x")
    i, j, k = (int(word) for word in (words if len(words) == 3 else words * 3))
    return i, j, k


def check_spacing(text: str | None) -> str | None:
    """Refuse what is no voxel size as a usage error: ``1``, or ``0.8x0.8x1`` in mm."""
    if text is not None:
        _lengths(text)
    return text


def spacing_given(text: str | None) -> tuple[float, float, float] | None:
    """Voxel edges along I, J and K in mm of a checked spacing."""
    return None if text is None else _lengths(text)


def _lengths(text: str) -> tuple[float, float, float]:
    words = text.lower().split("x")
    try:
        lengths = [float(word) for word in words]
    except ValueError:
        lengths = []
    if len(lengths) not in (1, 3) or not all(0 < length < math.inf for length in lengths):
        raise typer.BadParameter(f"{text!r} is neither a length in mm nor of the form 0.8x0.8x1")
    i, j, k = lengths if len(lengths) == 3 else lengths * 3
    return i, j, k


class SliceAxisName(str, Enum):
    """Values of ``--slice-axis``."""

    AUTO = "auto"
    I = "I"  # noqa: E741 (the axis's name)
    J = "J"
    K = "K"


def check_volumes(volumes: str) -> str:
    """Refuse what is neither a number nor a slice as a usage error."""
    if not VOLUMES.fullmatch(volumes):
        raise typer.BadParameter(f"{volumes!r} is neither a number of a volume nor like 0:10")
    return volumes


def check_png(path: Path | None) -> Path | None:
    """Refuse what is no PNG picture by its name as a usage error."""
    if path is not None and path.suffix.lower() != ".png":
        raise typer.BadParameter(f"'{path}' does not end in .png")
    return path


def check_threads(threads: int | None) -> int | None:
    """Tell where more threads are asked for than the machine can run; it then runs those."""
    cores = os.cpu_count() or 1
    if threads is not None and threads > cores:
        typer.echo(f"note: --threads {threads}: this machine has {cores}, which are used", err=True)
        return cores
    return threads


Device = Annotated[
    str,
    typer.Option(
        metavar="auto|cpu|cuda[:N]|mps",
        callback=check_device,
        help="Where to compute; auto takes an NVIDIA GPU if there is one.",
    ),
]
Backend = Annotated[
    BackendName,
    typer.Option(
        help="What computes the network; auto takes OpenVINO on CPUs where it is installed and "
        "faster."
    ),
]
Ensemble = Annotated[
    PassesName,
    typer.Option(
        help="Passes over mirror images, whose mean is taken; auto: 2 at x2, 8 at x3 and x4."
    ),
]
Fast = Annotated[
    bool,
    typer.Option("--fast", help="Sets --ensemble 1: least time, 0.1 to 0.2 dB less."),
]
Best = Annotated[
    bool,
    typer.Option(
        "--best", help="Sets --ensemble 8 and --precision fp32: at x2 four times the time."
    ),
]
Consistency = Annotated[
    ConsistencyName,
    typer.Option(
        help="Degradation under which the result is made to reproduce the input; auto: largely "
        "kspace where the input looks like truncated k-space, else none."
    ),
]
Threads = Annotated[
    int | None,
    typer.Option(min=1, callback=check_threads, help="CPU threads. (default: all cores)"),
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print errors only.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one line of JSON about what was done.")]
