"""Options that several commands take."""

import re
from enum import Enum
from typing import Annotated

import typer

DEFAULT_SCALE = 2
DEVICE = re.compile(r"auto|cpu|mps|cuda(:\d+)?")


class Precision(str, Enum):
    """Values of ``--precision``."""

    AUTO = "auto"
    FP32 = "fp32"
    BF16 = "bf16"
    FP16 = "fp16"


def check_device(name: str) -> str:
    """Refuse what names no device as a usage error."""
    if not DEVICE.fullmatch(name):
        raise typer.BadParameter(f"{name!r} is none of auto, cpu, cuda, cuda:N, mps")
    return name


Device = Annotated[
    str,
    typer.Option(
        metavar="auto|cpu|cuda[:N]|mps",
        callback=check_device,
        help="Where to compute; auto takes an NVIDIA GPU if there is one.",
    ),
]
Threads = Annotated[int | None, typer.Option(min=1, help="CPU threads. (default: all cores)")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print errors only.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one line of JSON about what was done.")]
