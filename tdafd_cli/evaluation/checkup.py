"""Checkup: whether this installation has what it needs, and upscales as it should."""

import importlib.util
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch

from tdafd_cli.errors import TdafdError
from tdafd_cli.evaluation.metrics import psnr
from tdafd_cli.inference.prediction import predict_volume
from tdafd_cli.inference.settings import InferenceSettings
from tdafd_cli.machine.devices import choose_precision, precision_name
from tdafd_cli.machine.memory import free_memory
from tdafd_cli.machine.precision_names import PRECISIONS
from tdafd_cli.provenance import provenance
from tdafd_cli.sampling.degradation import degrade
from tdafd_cli.sampling.interpolation import interpolate
from tdafd_cli.weights.cache import cache_folder
from tdafd_cli.weights.mirror import configuration_path, configured_mirror, shown_address
from tdafd_cli.weights.registry import bundled_path, read_registry
from tdafd_cli.weights.store import default_name, load_weights

BACKENDS = {"torch": "torch", "openvino": "openvino", "onnxruntime": "onnxruntime"}
"""Runtimes of networks, and the packages that hold them."""
EDGE = 48  # high voxels of the object that is upscaled
LEAST_GAIN_DB = 1.0
"""Over sinc, that a sound installation reaches: version 4 of tdafd-x2 gains 2.9 dB in fp32."""


@dataclass(frozen=True)
class SelfTest:
    """A small object upscaled, and compared with what it is.

    Attributes
    ----------
    weights, device, precision : str
    psnr, psnr_sinc : float
        Of the network and of sinc interpolation, in dB.
    seconds : float
    """

    weights: str
    device: str
    precision: str
    psnr: float
    psnr_sinc: float
    seconds: float


@dataclass(frozen=True)
class Checkup:
    """What was found; ``problems`` holds a line, with what to do, on each thing that is wrong."""

    versions: dict[str, str]
    system: str
    cpu: str
    cores: int
    threads: int
    devices: tuple[dict[str, Any], ...]
    backends: dict[str, str | None]
    memory: dict[str, int]
    cache: dict[str, Any]
    mirror: str | None
    configuration: str | None
    weights: tuple[dict[str, Any], ...]
    self_test: SelfTest | None
    problems: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """All of it as plain values."""
        return asdict(self)


def check_installation(device: str = "auto") -> Checkup:
    """Look at all that `tdafd upscale` needs, and upscale a small object on a device."""
    problems: list[str] = []
    made = provenance(command="", device="cpu", precision="fp32", threads=None, seed=0)
    weights = _weights(problems)
    configuration = configuration_path()
    return Checkup(
        versions=made["versions"],
        system=made["system"],
        cpu=made["cpu"],
        cores=made["cores"],
        threads=made["threads"],
        devices=tuple(_about(place) for place in _devices()),
        backends={name: _version(package) for name, package in BACKENDS.items()},
        memory={
            "total_bytes": int(psutil.virtual_memory().total),
            "free_bytes": free_memory(torch.device("cpu")),
        },
        cache=_cache(cache_folder()),
        mirror=_mirror(problems),
        configuration=str(configuration) if configuration.exists() else None,
        weights=weights,
        self_test=_self_test(device, problems),
        problems=tuple(problems),
    )


def _devices() -> list[torch.device]:
    gpus = [torch.device("cuda", index) for index in range(torch.cuda.device_count())]
    apple = [torch.device("mps")] if torch.backends.mps.is_available() else []
    return [torch.device("cpu"), *gpus, *apple]


def _about(device: torch.device) -> dict[str, Any]:
    """Name of a device, what it is, and in which precisions it computes; "auto" takes the first."""
    fastest = precision_name(choose_precision("auto", device))
    others = [name for name in PRECISIONS if name != fastest and device.type != "mps"]
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else None
    return {
        "name": str(device),
        "model": name,
        "precisions": [fastest, *others],
        "free_memory_bytes": free_memory(device),
    }


def _version(package: str) -> str | None:
    """Version of an installed package, or None; nothing is imported."""
    if importlib.util.find_spec(package) is None:
        return None
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "unknown"


def _cache(folder: Path) -> dict[str, Any]:
    files = [path for path in folder.rglob("*.safetensors") if path.is_file()]
    return {
        "folder": str(folder),
        "files": len(files),
        "bytes": sum(path.stat().st_size for path in files),
    }


def _mirror(problems: list[str]) -> str | None:
    try:
        mirror = configured_mirror()
    except TdafdError as error:
        problems.append(str(error))
        return None
    return shown_address(mirror.url) if mirror.url else None


def _weights(problems: list[str]) -> tuple[dict[str, Any], ...]:
    """Each set of weights, and whether its copies on this machine are whole."""
    try:
        entries: Sequence[Any] = tuple(read_registry().values())
    except TdafdError as error:
        problems.append(str(error))
        return ()
    rows = []
    for entry in entries:
        places = (cache_folder() / entry.place, bundled_path(entry))
        copies = {str(path): entry.fits(path) for path in places if path.exists()}
        rows.append({"name": entry.name, "version": entry.version, "copies": copies})
        problems += [
            f"{path}: damaged weights; `tdafd weights download {entry.name}` gets a whole one"
            for path, whole in copies.items()
            if not whole
        ]
    return tuple(rows)


def _self_test(device: str, problems: list[str]) -> SelfTest | None:
    """Upscale a small object on a device, in one pass."""
    started = time.perf_counter()
    try:
        weights = load_weights(default_name())
        truth = shells(EDGE)
        low = degrade(truth, weights.scale, "kspace")
        settings = InferenceSettings(device, ensemble=1, consistency="none", fallback=False)
        estimate, execution = predict_volume(weights.network(), low, settings)
    except TdafdError as error:
        problems.append(f"self-test: {error}")
        return None
    sinc = interpolate(low, weights.scale, "sinc")
    result = SelfTest(
        weights=weights.name,
        device=execution.device,
        precision=execution.precision,
        psnr=round(psnr(truth.numpy(), estimate.numpy()), 2),
        psnr_sinc=round(psnr(truth.numpy(), sinc.numpy()), 2),
        seconds=round(time.perf_counter() - started, 2),
    )
    if not result.psnr - result.psnr_sinc >= LEAST_GAIN_DB:
        problems.append(
            f"self-test: {result.psnr} dB on {result.device} in {result.precision}, where sinc has "
            f"{result.psnr_sinc}; try `--precision fp32` or `--device cpu`, and report it"
        )
    return result


def shells(edge: int) -> torch.Tensor:
    """An object (edge, edge, edge) of sharp shells, its intensities from 0 to 1."""
    axis = np.linspace(-1, 1, edge)
    i, j, k = np.meshgrid(axis, 1.1 * axis, 1.2 * axis, indexing="ij")
    radius = np.sqrt((i - 0.05) ** 2 + j**2 + (k + 0.1) ** 2)
    values = 0.3 + 0.2 * np.sign(np.cos(14 * radius)) + 0.4 * (np.abs(i) + np.abs(j) < 0.4)
    return torch.from_numpy(np.where(radius < 0.85, values, 0.0).astype(np.float32))
