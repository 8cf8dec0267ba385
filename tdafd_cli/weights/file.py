"""Weights files: a network's state, and metadata on how it was trained.

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
from tdafd_cli.networks.limits import default_falloff_limits
from tdafd_cli.networks.tdafd import TDAFD, TDAFDConfig
from tdafd_cli.output import replacing
from tdafd_cli.sampling.factors import Factors
from tdafd_cli.weights.metadata import (
    ARCHITECTURE,
    CHECKSUM,
    FORMAT,
    SUFFIX,
    check_format,
    damaged,
    from_text,
    to_text,
)

CHECKSUM_KIND = "sha256:"

LARGEST_SETTING = 4096
"""Of a network's configuration: beyond it, building the network alone could take all memory."""


@dataclass(frozen=True, eq=False)
class Weights:
    """Trained weights of one network. Compared by identity: mappings of tensors have no equality.

    Attributes
    ----------
    name : str
        As in the registry, or the file's name without its suffix.
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
        """High voxels per low voxel that the weights were trained for."""
        return self.config.scale

    @property
    def factors(self) -> Factors:
        """High voxels per low voxel along I, J and K, slices along K."""
        return self.config.factors

    def network(self) -> TDAFD:
        """Build the network with these weights, ready for inference."""
        network = TDAFD(self.config)
        network.load_state_dict(self.state)
        return network.eval()


def read_weights(path: Path, *, name: str | None = None) -> Weights:
    """Read a weights file and check that a network can be built from it.

    Parameters
    ----------
    path : Path
    name : str, optional
        The file's name without its suffix by default.

    Raises
    ------
    WeightsError
        In one line: no such file, damaged, not a TDAFD's, of other shapes than its configuration
        says, of other numbers than were saved, or not finite.
    """
    content = _read(path)
    state, metadata = _parse(path, content)
    blueprint = _blueprint(path, metadata)
    if blueprint.config.axes == 3:  # older files say nothing of limits
        state.setdefault("falloff_limits", default_falloff_limits(blueprint.config.scale))
    _check_state(path, blueprint, state)
    _check_seal(path, content)
    sha256 = hashlib.sha256(content).hexdigest()
    return Weights(name or path.stem, path, sha256, blueprint.config, state, metadata)


def save_weights(path: Path, network: TDAFD, metadata: Mapping[str, Any]) -> None:
    """Write a network's weights, whole or not at all, in place of what was there.

    Parameters
    ----------
    path : Path
        Ends in ``.safetensors``.
    network : TDAFD
    metadata : mapping of str to any JSON value
        Kept beside the weights; `read_weights` gives it back. The format, the architecture, the
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
    content = _sealed(save(state, {name: to_text(value) for name, value in about.items()}))
    with replacing(path) as file:
        file.write(content)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise WeightsError(
            f"{path}: cannot read weights: {error.strerror}; check its name"
        ) from error


def _parse(path: Path, content: bytes) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors and metadata of a safetensors file."""
    try:
        state = load(content)
    except SafetensorError as error:
        raise damaged(path, error) from error
    about = _header(content)[0].get("__metadata__", {})
    return state, {name: from_text(value) for name, value in about.items() if name != CHECKSUM}


def _check_seal(path: Path, content: bytes) -> None:
    """Refuse a file that is no longer as it was saved, were it by one bit.

    Older files have no checksum; one whose name was damaged is known by its first letters.
    """
    header, tensors = _header(content)
    about = header.get("__metadata__", {})
    found = about.pop(CHECKSUM, None)
    older = found is None and not any(text.startswith(CHECKSUM_KIND) for text in about.values())
    if not older and found != _checksum(header, tensors):
        raise WeightsError(
            f"{path}: its numbers are not those that were saved; copy or download it again"
        )


def _header(content: bytes) -> tuple[dict[str, Any], bytes]:
    """Split a safetensors file into what its header says and the tensors' bytes."""
    length = int.from_bytes(content[:8], "little")
    header: dict[str, Any] = json.loads(content[8 : 8 + length])
    return header, content[8 + length :]


def _sealed(content: bytes) -> bytes:
    """Put a checksum into the header, and sort it, so that equal weights have equal hashes."""
    header, tensors = _header(content)
    about = header["__metadata__"]
    about.pop(CHECKSUM, None)
    about[CHECKSUM] = _checksum(header, tensors)
    text = _sorted_text(header)
    text += b" " * (-len(text) % 8)  # the format aligns tensors to 8 bytes
    return len(text).to_bytes(8, "little") + text + tensors


def _checksum(header: Mapping[str, Any], tensors: bytes) -> str:
    """SHA-256 of all that a file holds but the checksum itself."""
    return f"{CHECKSUM_KIND}{hashlib.sha256(_sorted_text(header) + tensors).hexdigest()}"


def _sorted_text(header: Mapping[str, Any]) -> bytes:
    return json.dumps(header, sort_keys=True, separators=(",", ":")).encode()


def _blueprint(path: Path, metadata: Mapping[str, Any]) -> TDAFD:
    """Build the network that the metadata describe, with shapes but no memory."""
    check_format(path, metadata)
    try:
        config = TDAFDConfig.from_dict(metadata["config"])
        if not all(0 < value <= LARGEST_SETTING for value in config.to_dict().values()):
            raise ValueError(f"a setting is not between 0 and {LARGEST_SETTING}")
        with torch.device("meta"):
            return TDAFD(config)
    except (KeyError, TypeError, ValueError, ArithmeticError, RuntimeError) as error:
        raise WeightsError(
            f"{path}: unusable network configuration: {error}; train it anew"
        ) from error


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
            f"{_shape(found.get(name))} instead of {_shape(expected.get(name))}; train it anew"
        )
    for name, value in state.items():
        if not torch.isfinite(value).all():
            raise WeightsError(
                f"{path}: {name} holds values that are not finite; "
                "train it anew, with a lower learning rate perhaps"
            )


def _shape(shape: torch.Size | None) -> str:
    return "none" if shape is None else str(tuple(shape))
