"""Request: how the volumes of a batch are to be upscaled."""

import hashlib
import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tdafd_cli.formats.selection import Selection
from tdafd_cli.inference.settings import InferenceSettings
from tdafd_cli.sampling.plan import Request as Grid

_OF_THE_MACHINE = ("device", "backend", "threads", "tile", "batch_size")
"""Settings that change a result by no more than rounding, so that a batch may go on elsewhere."""


@dataclass(frozen=True)
class Request:
    """How the volumes of a batch are to be upscaled.

    Attributes
    ----------
    weights_name, weights_path, weights_sha256
        Of the weights, which each process reads for itself.
    settings : InferenceSettings
    grid : sampling.plan.Request
        What the results' grids are to be.
    selection : Selection
    normalise, dtype : str
        As for `upscale_file`.
    overwrite : bool
        Whether results that are finished are made again, and others of tdafd replaced.
    overwrite_scans : bool
        Whether a target is replaced that is no result of tdafd.
    """

    weights_name: str
    weights_path: Path
    weights_sha256: str
    settings: InferenceSettings
    grid: Grid = field(default_factory=Grid)
    selection: Selection = field(default_factory=Selection)
    normalise: str = "series"
    dtype: str = "input"
    overwrite: bool = False
    overwrite_scans: bool = False

    @property
    def key(self) -> str:
        """SHA-256 of all that shapes a result, in short: equal keys make equal results."""
        settings = {k: v for k, v in asdict(self.settings).items() if k not in _OF_THE_MACHINE}
        what: dict[str, Any] = {
            "weights": self.weights_sha256,
            "settings": settings,
            "grid": asdict(self.grid),
            "selection": asdict(self.selection),
            "normalise": self.normalise,
            "dtype": self.dtype,
        }
        return hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()[:32]
