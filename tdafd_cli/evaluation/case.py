"""A case: a high-resolution volume, degraded, and what is needed to score an estimate of it."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from tdafd_cli.errors import VolumeError, size_text
from tdafd_cli.evaluation.metrics import SSIM_WINDOW
from tdafd_cli.sampling.degradation import degrade, divisible
from tdafd_cli.sampling.factors import Factors, factors_of, factors_text
from tdafd_cli.volumes.foreground import foreground_mask
from tdafd_cli.volumes.grid import downscaled_affine, regridded
from tdafd_cli.volumes.intensity import IntensityRange, denormalise, intensity_range, normalise
from tdafd_cli.volumes.volume import Volume


@dataclass(frozen=True, eq=False)
class Reference:
    """A high-resolution volume, cropped to whole low voxels, and its foreground."""

    name: str
    volume: Volume
    factors: Factors
    high: torch.Tensor
    mask: npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Case:
    """One volume under one degradation.

    Attributes
    ----------
    reference : Reference
    degradation : str
    low : (I, J, K) tensor
        Normalised by ``span``.
    span : IntensityRange
    low_is_positive : bool
        Whether an estimate below zero is clipped.
    """

    reference: Reference
    degradation: str
    low: torch.Tensor
    span: IntensityRange
    low_is_positive: bool

    @property
    def factors(self) -> Factors:
        """High voxels per low voxel along I, J and K."""
        return self.reference.factors

    @property
    def scale(self) -> int:
        """High voxels per low voxel along the axes that are degraded."""
        return max(self.factors)

    @property
    def zero(self) -> float | None:
        """What an intensity of zero became in ``low``, if no intensity is negative."""
        return self.span.zero if self.low_is_positive else None

    def intensities(self, normalised: torch.Tensor) -> np.ndarray:
        """An estimate on the reference's scale, as `tdafd upscale` would write it."""
        estimate: np.ndarray = denormalise(normalised.numpy(), self.span)
        return np.maximum(estimate, 0) if self.low_is_positive else estimate

    def low_intensities(self) -> torch.Tensor:
        """The degraded volume on the reference's scale."""
        return torch.from_numpy(denormalise(self.low.numpy(), self.span))

    def low_volume(self) -> Volume:
        """The degraded volume as a file holds it: intensities, and its place in the world."""
        source = self.reference.volume
        affine = downscaled_affine(source.affine, self.factors)
        return regridded(source, self.low_intensities().numpy(), affine)


def reference(name: str, volume: Volume, scale: int | Factors) -> Reference:
    """Reference for a scale, or for factors along I, J and K.

    Raises
    ------
    VolumeError
        If the volume has too few voxels to be judged.
    """
    factors = factors_of(scale)
    high = divisible(torch.from_numpy(np.asarray(volume.data, np.float32)), factors)
    least = max(SSIM_WINDOW, 2 * max(factors))
    if min(high.shape) < least:
        raise VolumeError(
            f"{volume.path or name}: {size_text(volume.shape)} voxels are too few at "
            f"x{factors_text(factors)}, which needs {least} along each axis; leave it out or lower "
            "the scale"
        )
    if high.min() == high.max():
        raise VolumeError(f"{volume.path or name}: constant but for its edge; leave it out")
    return Reference(name, volume, factors, high, foreground_mask(high.numpy()))


def degraded(reference: Reference, kind: str) -> Case:
    """Case of a benchmark degradation."""
    low = degrade(reference.high, reference.factors, kind)
    span = intensity_range(low.numpy())
    return Case(
        reference=reference,
        degradation=kind,
        low=torch.from_numpy(normalise(low.numpy(), span)),
        span=span,
        low_is_positive=bool(low.min() >= 0),
    )
