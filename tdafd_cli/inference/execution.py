"""Execution: the settings that a volume was actually upscaled with, for reports."""

from dataclasses import dataclass

from tdafd_cli.inference.trust import Trust


@dataclass(frozen=True)
class Execution:
    """How a network was actually run, once every automatic choice was made.

    Attributes
    ----------
    device : str
    backend : {"torch", "openvino", "none"}
    precision : {"fp32", "bf16", "fp16"}
    tile : tuple of int
        Low voxels of each tile along I, J and K.
    tiles : int
        How many there were.
    overlap, batch_size : int
    ensemble : int
        Passes, each but the first over a mirror image.
    consistency : {"none", "kspace", "gaussian", "average"}
        Degradation under which the result was made to agree with the scan.
    notes : tuple of str
        What was not done as asked, and why.
    network_share : float
        Of the network in the result, from 0 to 1; the rest is interpolation.
    trust : Trust, optional
        What the scan's spectrum says of it.
    """

    device: str
    precision: str
    tile: tuple[int, ...]
    tiles: int
    overlap: int
    batch_size: int
    ensemble: int
    backend: str = "torch"
    consistency: str = "none"
    notes: tuple[str, ...] = ()
    network_share: float = 1.0
    trust: Trust | None = None


WITHOUT_NETWORK = Execution(
    device="cpu",
    precision="fp32",
    tile=(),
    tiles=0,
    overlap=0,
    batch_size=0,
    ensemble=0,
    backend="none",
    network_share=0.0,
)
"""How label maps are upscaled, and scans of which the result is interpolation alone."""
