"""Settings of inference: everything about a run but the weights and the volume.

Nothing here imports torch, so that settings can be checked before it takes its seconds to load.
"""

from dataclasses import dataclass

from tdafd_cli.inference.ensemble import PASSES
from tdafd_cli.machine.precision_names import PRECISIONS
from tdafd_cli.sampling.kinds import CONSISTENCIES

OVERLAP = 48
"""Low voxels shared by default: three windows of the network, and no fewer keep every seam below
0.1 % of the range. Tiles that end 16 voxels away change a voxel by up to 0.4, 1.1 and 2.1 % at x2,
x3 and x4, 18 away by 0.12, 0.24 and 0.36, 20 away by 0.05, 0.06 and 0.09, 32 away by 0.003 (six
validation heads and brains, sharp and degraded, all axes); the outer 20 are left out."""

BACKENDS = ("auto", "torch", "openvino")
LABELS = ("auto", "yes", "no")


@dataclass(frozen=True)
class InferenceSettings:
    """How to run a network, apart from its weights.

    Attributes
    ----------
    device : str
        "auto", "cpu", "cuda", "cuda:N" or "mps".
    precision : {"auto", "fp32", "bf16", "fp16"}
        Of the network's trunk; its image skip is always fp32.
    tile : int or "auto"
        Largest edge of a tile in low voxels, rounded down to the network's window grid; "auto"
        takes what the free memory allows and the volume's shape makes cheapest.
    overlap : int
        Low voxels that neighbouring tiles share.
    batch_size : int
        Tiles per pass through the network.
    threads : int, optional
        CPU threads; PyTorch's default if None.
    ensemble : {"auto", 1, 2, 4, 8}
        Passes, each but the first over a mirror image; "auto" is 2 at x2, 8 at x3 and x4.
    consistency : {"auto", "none", "kspace", "gaussian", "average"}
        Degradation under which the result is to reproduce the scan. "auto" goes a part of the way
        to "kspace" where truncation fits the scan clearly better than every other degradation
        tried, and is "none" elsewhere.
    fallback : bool
        Whether interpolation replaces the network's result, wholly or in part, where the scan is
        smoother or noisier than all that the network was trained on.
    labels : {"auto", "yes", "no"}
        Whether the volume is a label map, whose voxels are repeated so that no new value occurs.
    slice_share : float
        Thickness of slices over their distance, if one axis alone is made finer: "gaussian" and
        "average" consistency take their profile from it.
    backend : {"auto", "torch", "openvino"}
        What computes the trunk; "auto" takes OpenVINO on CPUs where it is installed and faster.
    """

    device: str = "auto"
    precision: str = "auto"
    tile: int | str = "auto"
    overlap: int = OVERLAP
    batch_size: int = 1
    threads: int | None = None
    ensemble: int | str = "auto"
    consistency: str = "auto"
    fallback: bool = True
    labels: str = "auto"
    slice_share: float = 1.0
    backend: str = "auto"

    def __post_init__(self) -> None:
        if self.precision not in ("auto", *PRECISIONS):
            raise ValueError(f"precision must be auto or one of {', '.join(PRECISIONS)}")
        if self.backend not in BACKENDS:
            raise ValueError(f"backend must be one of {', '.join(BACKENDS)}")
        if self.tile != "auto" and (isinstance(self.tile, str) or self.tile <= self.overlap):
            raise ValueError(f"tile must be auto or above the overlap, got {self.tile!r}")
        if self.overlap < 0 or self.batch_size < 1:
            raise ValueError("overlap must be at least 0 and batch_size at least 1")
        if self.threads is not None and self.threads < 1:
            raise ValueError(f"threads must be at least 1, got {self.threads}")
        if self.ensemble not in ("auto", *PASSES):
            raise ValueError(f"ensemble must be auto, 1, 2, 4 or 8, got {self.ensemble!r}")
        if self.consistency not in CONSISTENCIES:
            raise ValueError(f"consistency must be one of {', '.join(CONSISTENCIES)}")
        if self.labels not in LABELS:
            raise ValueError(f"labels must be one of {', '.join(LABELS)}")
        if self.slice_share <= 0:
            raise ValueError(f"slice_share must be above 0, got {self.slice_share}")

    @property
    def place(self) -> str:
        """Device to choose: OpenVINO computes on the CPU, even where "auto" is a GPU."""
        return "cpu" if self.device == "auto" and self.backend == "openvino" else self.device
