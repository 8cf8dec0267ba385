"""Result: an upscaled volume, and the report on how it was made."""

import json
import time
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from nibabel.nifti1 import Nifti1Image

from tdafd_cli import __version__
from tdafd_cli.formats.files import write_volume
from tdafd_cli.formats.images import image_of
from tdafd_cli.inference.execution import Execution
from tdafd_cli.machine.memory import peak_memory
from tdafd_cli.volumes.findings import Finding
from tdafd_cli.volumes.volume import Volume


@dataclass(frozen=True)
class UpscaleReport:
    """What was done: from which source to which file, how, and at what cost.

    Attributes
    ----------
    source : str or None
        File that was read; None for an image in memory that has none.
    target, preview : str or None
        Files that were written.
    sidecars : tuple of str
        Copies of what lay beside a series.
    scale : int
        Of the network.
    factors : (I, J, K)
        New voxels per voxel that the network made along each axis.
    resampling : (I, J, K)
        Edges of the result's voxels over those that the network made; 1 where nothing was
        resampled.
    input_shape, output_shape : (I, J, K), or (I, J, K, volumes) of a series
    input_voxel_size, output_voxel_size : (I, J, K)
        In the units of the affine.
    weights, weights_sha256 : str
    execution : Execution
    warnings : tuple of Finding
    seconds : dict
        For reading, for computing the result, for writing, and in total.
    peak_memory_bytes : int
        Of the process on a CPU.
    version : str
    """

    source: str | None
    target: str | None
    scale: int
    factors: tuple[int, ...]
    resampling: tuple[float, ...]
    input_shape: tuple[int, ...]
    output_shape: tuple[int, ...]
    input_voxel_size: tuple[float, ...]
    output_voxel_size: tuple[float, ...]
    weights: str
    weights_sha256: str
    execution: Execution
    warnings: tuple[Finding, ...]
    seconds: dict[str, float]
    peak_memory_bytes: int
    version: str = __version__
    preview: str | None = None
    sidecars: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """All of it as plain values, the execution's among the others."""
        values = asdict(self)
        execution, preview = values.pop("execution"), values.pop("preview")
        return {**values, **execution, "preview": preview}


@dataclass(frozen=True, eq=False)
class Result:
    """An upscaled volume, and the report on how it was made.

    Attributes
    ----------
    low, high : Volume
        What was upscaled, and what was made of it, not yet rounded to ``dtype``.
    details : UpscaleReport
        What ``report`` says, as a record.
    dtype : str
        Type of the numbers in image and file, as for `write_volume`.
    """

    low: Volume = field(repr=False)
    high: Volume = field(repr=False)
    details: UpscaleReport
    dtype: str = "input"

    @property
    def image(self) -> Nifti1Image:
        """The upscaled volume as a nibabel image, new at each call: what `save` would write."""
        return image_of(self.high, dtype=self.dtype)

    @property
    def report(self) -> dict[str, Any]:
        """What ``tdafd upscale --json`` prints, read back from JSON."""
        report: dict[str, Any] = json.loads(json.dumps(self.details.to_dict()))
        return report

    def save(self, path: str | Path, overwrite: bool = False) -> "Result":
        """Write the upscaled volume into a file, whole or not at all.

        Parameters
        ----------
        path : str or Path
            Its ending tells the format: see `tdafd_cli.formats.files.SUFFIXES`.
        overwrite : bool
            Whether an existing file may be replaced; the source never is.

        Returns
        -------
        Result
            The same, with a report that names the file and counts the seconds of writing.

        Raises
        ------
        OutputError
            If it cannot be written; a file that was there before is unchanged.
        """
        started = time.perf_counter()
        write_volume(path, self.high, dtype=self.dtype, overwrite=overwrite, mark=__version__)
        spent = self.details.seconds
        details = replace(
            self.details,
            target=str(path),
            seconds=seconds_of(spent["read"], spent["network"], time.perf_counter() - started),
            peak_memory_bytes=peak_memory(torch.device(self.details.execution.device)),
        )
        return replace(self, details=details)


def seconds_of(read: float, network: float, write: float) -> dict[str, float]:
    """Seconds of each step and in total, as reports have them."""
    steps = {"read": read, "network": network, "write": write, "total": read + network + write}
    return {name: round(value, 3) for name, value in steps.items()}
