"""Save, find and load the weights of a TDAFD, with all that tells how they came to be.

A weights file is safetensors and nothing else: it holds numbers and text, so unlike a pickled
checkpoint it cannot run code when it is opened. Its metadata keeps the format's version, the
network's configuration and whatever the training recorded (data, recipe, scores).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from tdafd_cli.errors import WeightsError
from tdafd_cli.model import TDAFD, TDAFDConfig
from tdafd_cli.output import replacing

FORMAT = "tdafd-1"
ARCHITECTURE = "TDAFD"
SUFFIX = ".safetensors"
PICKLED_SUFFIXES = frozenset({".bin", ".ckpt", ".pickle", ".pkl", ".pt", ".pth"})


@dataclass(frozen=True)
class Weights:
    """Trained weights of one network.

    Attributes
    ----------
    name : str
        The bundled name, or the file's name without its suffix.
    path : Path
        Where they were read from.
    sha256 : str
        Of the file, as 64 hexadecimal digits.
    config : TDAFDConfig
    state : dict of str to tensor
        The network's state, on the CPU.
    metadata : dict of str to any JSON value
        What the training recorded beside them.
    """

    name: str
    path: Path
    sha256: str
    config: TDAFDConfig
    state: Mapping[str, Tensor]
    metadata: Mapping[str, Any]

    @property
    def scale(self) -> int:
        """High voxels per low voxel along each axis that the weights were trained for."""
        return self.config.scale

    def network(self) -> TDAFD:
        """Build the network with these weights, ready for inference."""
        network = TDAFD(self.config)
        network.load_state_dict(self.state)
        return network.eval()


def bundled_names() -> tuple[str, ...]:
    """Names of the weights that come with the program."""
    return tuple(sorted(path.stem for path in _bundled_folder().glob(f"*{SUFFIX}")))


def default_name(scale: int) -> str:
    """Name of the weights that serve a scale when none are asked for.

    Raises
    ------
    WeightsError
        If none for this scale come with the program.
    """
    name = f"tdafd-x{scale}"
    if name not in bundled_names():
        raise WeightsError(
            f"no weights for scale {scale} come with this version, only {_bundled()}; "
            f"choose another scale, or give a {SUFFIX} file made for it"
        )
    return name


def load_weights(name_or_path: str | Path, *, scale: int | None = None) -> Weights:
    """Read weights and check that a network can be built from them.

    Parameters
    ----------
    name_or_path : str or Path
        One of `bundled_names`, or a ``.safetensors`` file.
    scale : int, optional
        The scale they must serve.

    Raises
    ------
    WeightsError
        In one line: unknown name, no such file, damaged, pickled, not a TDAFD's, for another
        scale, of other shapes than their configuration says, or not finite.
    """
    path = _find(name_or_path)
    content = _read(path)
    state, metadata = _parse(path, content)
    blueprint = _blueprint(path, metadata)
    made_for = blueprint.config.scale
    if scale is not None and made_for != scale:
        raise WeightsError(f"{path}: made for scale {made_for}, not {scale}; {_advice(scale)}")
    _check_state(path, blueprint, state)
    sha256 = hashlib.sha256(content).hexdigest()
    return Weights(path.stem, path, sha256, blueprint.config, state, metadata)


def save_weights(path: Path, network: TDAFD, metadata: Mapping[str, Any]) -> None:
    """Write a network's weights, whole or not at all, in place of what was there.

    Parameters
    ----------
    path : Path
        Ends in ``.safetensors``.
    network : TDAFD
    metadata : mapping of str to any JSON value
        Kept beside the weights; `load_weights` gives it back. The format, the architecture, the
        configuration and the scale are added.

    Raises
    ------
    OutputError
        If the file cannot be written.
    """
    if path.suffix != SUFFIX:
        raise ValueError(f"{path}: weights are kept as {SUFFIX}")
    about = {
        **metadata,
        "format": FORMAT,
        "architecture": ARCHITECTURE,
        "config": network.config.to_dict(),
        "scale": network.config.scale,
    }
    state = {
        name: value.detach().cpu().contiguous() for name, value in network.state_dict().items()
    }
    content = _ordered(save(state, {name: _to_text(value) for name, value in about.items()}))
    with replacing(path) as file:
        file.write(content)


def _bundled_folder() -> Path:
    """Weights inside the installed package, or at the top of a source checkout."""
    package = Path(__file__).parent
    installed = package / "_weights"
    return installed if installed.is_dir() else package.parent / "weights"


def _bundled() -> str:
    return ", ".join(bundled_names()) or "none"


def _advice(scale: int) -> str:
    fitting = [name for name in bundled_names() if f"-x{scale}" in name]
    if not fitting:
        return f"none for scale {scale} come with this version, only {_bundled()}"
    return f"{' or '.join(fitting)} fits"


def _find(name_or_path: str | Path) -> Path:
    text, path = str(name_or_path), Path(name_or_path)
    if text in bundled_names():
        return _bundled_folder() / f"{text}{SUFFIX}"
    if path.suffix.lower() in PICKLED_SUFFIXES:
        raise WeightsError(
            f"{path}: pickled checkpoints are refused, as opening one can run code; "
            f"convert it to {SUFFIX}"
        )
    if path.suffix != SUFFIX and path.name == text and not path.exists():
        raise WeightsError(
            f"{text}: unknown weights; known are {_bundled()}, or give a {SUFFIX} file"
        )
    return path


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise WeightsError(f"{path}: cannot read weights: {error.strerror}") from error


def _parse(path: Path, content: bytes) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors and metadata of a safetensors file."""
    try:
        state = load(content)
    except SafetensorError as error:
        reason = " ".join(str(error).split())
        raise WeightsError(f"{path}: not a whole safetensors file: {reason}") from error
    about = _header(content)[0].get("__metadata__", {})
    return state, {name: _from_text(value) for name, value in about.items()}


def _header(content: bytes) -> tuple[dict[str, Any], bytes]:
    """Split a safetensors file into what its header says and the tensors' bytes."""
    length = int.from_bytes(content[:8], "little")
    header: dict[str, Any] = json.loads(content[8 : 8 + length])
    return header, content[8 + length :]


def _ordered(content: bytes) -> bytes:
    """Sort the header, which comes in random order, so that equal weights have equal hashes."""
    header, tensors = _header(content)
    text = json.dumps(header, sort_keys=True, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # the format aligns tensors to 8 bytes
    return len(text).to_bytes(8, "little") + text + tensors


def _blueprint(path: Path, metadata: Mapping[str, Any]) -> TDAFD:
    """Build the network that the metadata describe, with shapes but no memory."""
    found = metadata.get("format")
    if found != FORMAT or metadata.get("architecture") != ARCHITECTURE:
        raise WeightsError(
            f"{path}: not weights of this program: format {found!r} instead of {FORMAT!r}"
        )
    try:
        with torch.device("meta"):
            return TDAFD(TDAFDConfig.from_dict(metadata["config"]))
    except (KeyError, TypeError, ValueError, ArithmeticError, RuntimeError) as error:
        raise WeightsError(f"{path}: unusable network configuration: {error}") from error


def _check_state(path: Path, blueprint: TDAFD, state: Mapping[str, Tensor]) -> None:
    expected = {name: value.shape for name, value in blueprint.state_dict().items()}
    found = {name: value.shape for name, value in state.items()}
    differing = sorted(
        name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name)
    )
    if differing:
        name = differing[0]
        raise WeightsError(
            f"{path}: {len(differing)} tensors do not fit the configuration, such as {name}: "
            f"{_shape(found.get(name))} instead of {_shape(expected.get(name))}"
        )
    for name, value in state.items():
        if not torch.isfinite(value).all():
            raise WeightsError(f"{path}: {name} holds values that are not finite")


def _shape(shape: torch.Size | None) -> str:
    return "none" if shape is None else str(tuple(shape))


def _to_text(value: Any) -> str:
    """Text stays as it is for human readers, unless it would be taken for JSON."""
    if isinstance(value, str) and _from_text(value) == value:
        return value
    return json.dumps(value)


def _from_text(text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text
