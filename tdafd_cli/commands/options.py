"""Options of the commands: their choices, their checks, and those that several commands take."""

import re
from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

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


def check_device(name: str) -> str:
    """Refuse what names no device as a usage error."""
    if not DEVICE.fullmatch(name):
        raise typer.BadParameter(f"{name!r} is none of auto, cpu, cuda, cuda:N, mps")
    return name


def check_tile(tile: str) -> str:
    """Refuse what is no edge of a tile as a usage error."""
    if tile != "auto" and not (tile.isdecimal() and int(tile) > 0):
        raise typer.BadParameter(f"{tile!r} is neither auto nor a number of voxels")
    return tile


def check_png(path: Path | None) -> Path | None:
    """Refuse what is no PNG picture by its name as a usage error."""
    if path is not None and path.suffix.lower() != ".png":
        raise typer.BadParameter(f"'{path}' does not end in .png")
    return path


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
Consistency = Annotated[
    ConsistencyName,
    typer.Option(
        help="Degradation under which the result is made to reproduce the input; auto: largely "
        "kspace where the input looks like truncated k-space, else none."
    ),
]
Threads = Annotated[int | None, typer.Option(min=1, help="CPU threads. (default: all cores)")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print errors only.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one line of JSON about what was done.")]
