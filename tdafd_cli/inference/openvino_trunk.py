"""The network's trunk as OpenVINO computes it on a CPU, converted at first use and kept on disk."""

from __future__ import annotations

import hashlib
import io
import json
import sys
import tempfile
import warnings
import zipfile
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tdafd_cli import __version__
from tdafd_cli.errors import OutputError
from tdafd_cli.machine.devices import precision_name
from tdafd_cli.networks.tdafd import TDAFD, Trunk
from tdafd_cli.output import replacing
from tdafd_cli.sampling.spectrum import BANDS

HINTS = {"fp32": "f32", "bf16": "bf16"}  # of precision, as OpenVINO names them
MODEL, NUMBERS = "trunk.xml", "trunk.bin"  # of a converted network, in one ZIP archive


def openvino_version() -> str | None:
    """Version of OpenVINO, or None where it is not installed; nothing is imported."""
    try:
        return version("openvino")
    except PackageNotFoundError:
        return None


def openvino_trunk(network: TDAFD, dtype: torch.dtype, folder: Path) -> Trunk:
    """Function that computes what the trunk of a network does.

    Parameters
    ----------
    network : TDAFD
    dtype : torch.dtype
        fp32 or bf16, in which OpenVINO computes; tensors are fp32.
    folder : Path
        Where converted networks are kept; one that cannot be written is done without.

    Returns
    -------
    callable
        Maps low (B, 1, I, J, K), of sizes that are multiples of the network's grid, and fall-off
        (B, 3, bands) to (B, s^3, I, J, K), with as many threads as PyTorch has now. What it
        returns is overwritten by the next call.

    Raises
    ------
    RuntimeError
        If OpenVINO cannot take the network.
    """
    core = imported_openvino().Core()
    properties = {
        "INFERENCE_PRECISION_HINT": HINTS[precision_name(dtype)],
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
        "NUM_STREAMS": 1,
    }
    model = core.read_model(*_converted_once(network, folder))
    compiled = core.compile_model(model, "CPU", properties)
    request = compiled.create_infer_request()

    def trunk(low: Tensor, falloff: Tensor) -> Tensor:
        inputs = [low.contiguous().numpy(), falloff.float().numpy()]
        (features,) = request.infer(inputs, share_inputs=True, share_outputs=True).values()
        return torch.from_numpy(features)

    return trunk


def imported_openvino() -> Any:
    """The module, imported without the one through which it reports its use over the network."""
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    import openvino

    return openvino


def _converted_once(network: TDAFD, folder: Path) -> tuple[bytes, bytes]:
    """A network in OpenVINO's format, from the disk if it was converted before."""
    kept = folder / f"{_fingerprint(network)}.zip"
    with suppress(OSError, zipfile.BadZipFile, KeyError), zipfile.ZipFile(kept) as archive:
        return archive.read(MODEL), archive.read(NUMBERS)
    files = _converted(network)
    with suppress(OSError, OutputError):  # a full disk, say: it is converted again next time
        folder.mkdir(parents=True, exist_ok=True)
        with replacing(kept) as file:
            file.write(_archive(files))
    return files


def _archive(files: tuple[bytes, bytes]) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in zip((MODEL, NUMBERS), files, strict=True):
            archive.writestr(name, data)
    return content.getvalue()


def _fingerprint(network: TDAFD) -> str:
    """What a converted network depends on: weights, sizes and versions, as a SHA-256."""
    versions = [__version__, torch.__version__, openvino_version(), network.config.to_dict()]
    digest = hashlib.sha256(json.dumps(versions, default=str).encode())
    for name, value in sorted(network.state_dict().items()):
        digest.update(name.encode())
        digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


class _Trunk(nn.Module):
    """The part of a network that is converted."""

    def __init__(self, network: TDAFD) -> None:
        super().__init__()
        self.network = network

    def forward(self, low: Tensor, falloff: Tensor) -> Tensor:
        return self.network.trunk(low, falloff)


def _converted(network: TDAFD) -> tuple[bytes, bytes]:
    """A network in OpenVINO's format, for any size: description and numbers."""
    openvino = imported_openvino()
    example = (torch.zeros((1, 1, *[network.grid] * 3)), torch.zeros((1, 3, len(BANDS))))
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # sizes are those of the example; deprecations
        traced = torch.jit.trace(_Trunk(network), example, check_trace=False)  # type: ignore[no-untyped-call]
        model = openvino.convert_model(traced, example_input=example)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / MODEL
        openvino.save_model(model, path, compress_to_fp16=False)
        return path.read_bytes(), path.with_name(NUMBERS).read_bytes()
