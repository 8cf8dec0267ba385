"""Backends: what computes the network's trunk, PyTorch or OpenVINO, and which is faster here."""

import hashlib
import json
import platform
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import torch

from tdafd_cli.errors import DeviceError, OutputError
from tdafd_cli.inference.openvino_trunk import HINTS, openvino_trunk, openvino_version
from tdafd_cli.machine.devices import precision_name
from tdafd_cli.networks.tdafd import TDAFD, Trunk
from tdafd_cli.output import replacing
from tdafd_cli.sampling.spectrum import BANDS
from tdafd_cli.weights.cache import cache_folder

WORTHWHILE = 4_000_000
"""Low voxels, in all passes, from which on "auto" asks which backend is faster: on one AVX2 core
they take PyTorch half a minute, and the first question, with the conversion, about 10 seconds."""

FASTER = 0.9
"""Part of PyTorch's time below which OpenVINO is taken: less is not worth another program."""

PROBE_EDGE = 48  # low voxels of the cube that both are timed on
ROUNDS = 2


@dataclass(frozen=True)
class Backend:
    """What computes a network's trunk.

    Attributes
    ----------
    name : {"torch", "openvino"}
    trunk : callable, optional
        In place of the network's own.
    note : str, optional
        Why it is not the one that was asked for.
    """

    name: str = "torch"
    trunk: Trunk | None = None
    note: str | None = None


def choose_backend(
    name: str, network: TDAFD, device: torch.device, dtype: torch.dtype, voxels: int
) -> Backend:
    """Backend for so many low voxels, all passes counted.

    Parameters
    ----------
    name : {"auto", "torch", "openvino"}
        "auto" is OpenVINO where it is installed, there is enough to do, and a trial found it
        faster; the trial's times are remembered for the machine.

    Raises
    ------
    DeviceError
        If OpenVINO was asked for, and is not installed or cannot do it.
    """
    if name == "openvino":
        return _openvino(network, device, dtype)
    usable = device.type == "cpu" and precision_name(dtype) in HINTS
    if name == "torch" or not usable or voxels < WORTHWHILE or openvino_version() is None:
        return Backend()
    try:
        trunk = openvino_trunk(network, dtype, _folder())
        seconds = _seconds(network, trunk, dtype)
    except (ImportError, RuntimeError) as error:
        reason = str(error).strip().splitlines()
        return Backend(note=f"OpenVINO failed ({reason[-1] if reason else 'no reason given'})")
    return Backend("openvino", trunk) if seconds[1] < FASTER * seconds[0] else Backend()


def _openvino(network: TDAFD, device: torch.device, dtype: torch.dtype) -> Backend:
    if openvino_version() is None:
        raise DeviceError(
            "backend openvino: not installed; pip install 'tdafd-cli[openvino]', or use torch"
        )
    if device.type != "cpu":
        raise DeviceError(f"backend openvino: computes on the CPU, not on {device}; use cpu")
    precision = precision_name(dtype)
    if precision not in HINTS:
        raise DeviceError(f"backend openvino: not in {precision}; use fp32 or bf16")
    try:
        return Backend("openvino", openvino_trunk(network, dtype, _folder()))
    except (ImportError, RuntimeError) as error:
        raise DeviceError(f"backend openvino: {error}; use torch") from error


def _folder() -> Path:
    return cache_folder() / "openvino"


def _seconds(network: TDAFD, trunk: Trunk, dtype: torch.dtype) -> tuple[float, float]:
    """Seconds that PyTorch and OpenVINO take on this machine, timed once."""
    parts = (
        platform.node(),
        platform.processor() or platform.machine(),
        torch.__version__,
        openvino_version(),
        torch.get_num_threads(),
        precision_name(dtype),
        network.config.to_dict(),
    )
    digest = hashlib.sha256(json.dumps(parts, default=str).encode()).hexdigest()
    kept = _folder() / f"{digest[:32]}.json"
    with suppress(OSError, ValueError, KeyError, TypeError):
        times = json.loads(kept.read_text(encoding="utf-8"))
        return float(times["torch"]), float(times["openvino"])
    seconds = _timed(network, trunk, dtype)
    with suppress(OSError, OutputError):  # a full disk, say: they are timed again next time
        kept.parent.mkdir(parents=True, exist_ok=True)
        with replacing(kept) as file:
            file.write(json.dumps(dict(zip(("torch", "openvino"), seconds, strict=True))).encode())
    return seconds


def _timed(network: TDAFD, trunk: Trunk, dtype: torch.dtype) -> tuple[float, float]:
    """Least seconds of each, in turns, after one round that is not counted."""
    low = torch.zeros((1, 1, *[PROBE_EDGE] * 3)).contiguous(memory_format=torch.channels_last_3d)
    falloff = torch.zeros((1, 3, len(BANDS)))
    best = [float("inf")] * 2
    reduced = dtype != torch.float32
    with torch.inference_mode(), torch.autocast("cpu", dtype if reduced else None, enabled=reduced):
        for turn in range(ROUNDS + 1):
            for index, compute in enumerate((network.trunk, trunk)):
                started = time.perf_counter()
                compute(low, falloff)
                if turn > 0:
                    best[index] = min(best[index], time.perf_counter() - started)
    return best[0], best[1]
