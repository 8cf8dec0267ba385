"""What a result was made with: versions, machine, seed, command."""

import os
import platform
from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from tdafd_cli import __version__

LIBRARIES = ("torch", "numpy", "scipy", "scikit-image", "SimpleITK", "nibabel")


def provenance(
    *, command: str, device: str, precision: str, threads: int | None, seed: int
) -> dict[str, Any]:
    """Everything but data and weights that may shape a result.

    Parameters
    ----------
    command : str
        As typed.
    device : str
        As chosen, not "auto".
    precision : str
    threads : int, optional
        PyTorch's own number if None.
    seed : int
    """
    gpu = torch.cuda.get_device_name(device) if device.startswith("cuda") else None
    return {
        "command": command,
        "started": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "seed": seed,
        "device": device,
        "gpu": gpu,
        "cpu": _cpu_name(),
        "cores": os.cpu_count(),
        "threads": threads or torch.get_num_threads(),
        "precision": precision,
        "system": platform.platform(),
        "versions": {
            "tdafd": __version__,
            "python": platform.python_version(),
            **{name: metadata.version(name) for name in LIBRARIES},
        },
    }


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:  # not Linux
        return platform.processor() or platform.machine()
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.machine())
