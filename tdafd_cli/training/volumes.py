"""Training volumes: read as sources say, brought to a size, cut to a box, turned to slices."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from tdafd_cli.errors import DataError, VolumeError
from tdafd_cli.formats.files import read_volume
from tdafd_cli.formats.folders import volume_paths
from tdafd_cli.sampling.factors import AXES, Factors
from tdafd_cli.sampling.matrices import apply_matrices, fourier_matrix
from tdafd_cli.sampling.spectrum import resolution_along, spectral_falloff
from tdafd_cli.volumes.intensity import intensity_range, normalise


@dataclass(frozen=True)
class Source:
    """A set of training volumes that are drawn and sharpened alike.

    Parameters
    ----------
    pattern : str
        Glob below the data folder.
    weight : float
        Relative probability of each of its volumes.
    sizes_mm : tuple of float
        Target voxel sizes, one drawn per pair; 0 keeps the volume's own grid. Coarser targets are
        cropped in k-space, which makes a volume that is softer than its grid sharp. Without any, a
        volume is cropped to the resolution that its spectrum shows along each axis.
    labels : bool
        Its volumes are label maps, of which every pair shows a box with a contrast of its own.
    axes : tuple of {"I", "J", "K"}
        Axes along which its volumes are sharp, so that thick slices may be made along them; only
        those that are sharp along all are made coarser along all.
    """

    pattern: str = "**/*"
    weight: float = 1.0
    sizes_mm: tuple[float, ...] = (0.0,)
    labels: bool = False
    axes: tuple[str, ...] = tuple(AXES)

    def __post_init__(self) -> None:
        if not self.axes or not set(self.axes) <= set(AXES):
            raise ValueError(f"axes must be of {', '.join(AXES)}, got {self.axes}")


@dataclass(frozen=True)
class TrainingVolume:
    """A high-resolution volume with its tissue at about 0 to 1, or a label map."""

    data: torch.Tensor  # (I, J, K) float32, int32 of a label map
    voxel_size: tuple[float, ...]
    weight: float
    sizes_mm: tuple[float, ...]
    labels: bool = False
    axes: tuple[int, ...] = (0, 1, 2)  # along which it is sharp


def load_volumes(
    folder: Path,
    sources: Sequence[Source],
    smallest: int = 1,
    note: Callable[[str], None] = lambda line: None,
) -> list[TrainingVolume]:
    """Read every volume that a source names; the first source that matches a file has it.

    Files that cannot be read, or are no volume, are left out as long as their source has others.

    Parameters
    ----------
    folder : Path
    sources : sequence of Source
    smallest : int
        Voxels that every axis must have: the edge of a high patch. Of volumes that are sharp along
        some axes alone, only these must.
    note : callable
        Called with a line on each file that is left out.

    Raises
    ------
    DataError
        If the folder holds no volume, a source matches none, or a volume is too small.
    VolumeError
        If none of a source's volumes can be read: about the first of them.
    """
    remaining = volume_paths(folder)
    volumes: list[TrainingVolume] = []
    for source in sources:
        matching = set(folder.glob(source.pattern))
        chosen = [path for path in remaining if path in matching]
        if not chosen:
            raise DataError(
                f"{folder}: no volume matches the source pattern {source.pattern!r}; mend it in "
                "the recipe, or give another folder"
            )
        remaining = [path for path in remaining if path not in matching]
        volumes.extend(_readable(chosen, source, smallest, note))
    return volumes


def _readable(
    paths: Sequence[Path], source: Source, smallest: int, note: Callable[[str], None]
) -> list[TrainingVolume]:
    """Volumes of a source, without those that cannot be read."""
    volumes, errors = [], []
    for path in paths:
        try:
            volumes.append(_load(path, source, smallest))
        except VolumeError as error:
            errors.append(error)
    if not volumes:
        raise errors[0]
    for each in errors:
        note(f"left out: {each}")
    return volumes


def _load(path: Path, source: Source, smallest: int) -> TrainingVolume:
    volume = read_volume(path)
    axes = tuple(AXES.index(axis) for axis in source.axes)
    if min(volume.shape[axis] for axis in axes) < smallest:
        raise DataError(
            f"{path}: shape {volume.shape} is smaller than a patch, which takes {smallest} voxels "
            "along each axis; leave it out, or lower patch under [dataset] in the recipe"
        )
    sizes = tuple(float(size) for size in volume.voxel_size)
    if source.labels:
        data = torch.from_numpy(np.asarray(volume.data).round().astype(np.int32))
    else:
        data = torch.from_numpy(normalise(volume.data, intensity_range(volume.data)))
    made = TrainingVolume(data, sizes, source.weight, source.sizes_mm, source.labels, axes)
    if source.labels or source.sizes_mm:
        return made
    sharp = as_sharp_as_it_is(data, smallest)
    sizes = tuple(size * n / m for size, n, m in zip(sizes, data.shape, sharp.shape, strict=True))
    return replace(made, data=sharp, voxel_size=sizes, sizes_mm=(0.0,))


def usable(volumes: Sequence[TrainingVolume], factors: Factors, patch: int) -> list[TrainingVolume]:
    """Volumes as a network for some factors sees them: whole, or with each slice axis brought last.

    For all axes, those that are sharp along all; for the last axis alone, each volume once for
    every axis that it is sharp along, with a part of its weight, if a patch of ``patch`` low voxels
    fits into it.
    """
    if factors[0] > 1:
        return [volume for volume in volumes if len(volume.axes) == len(AXES)]
    turned = []
    for volume in volumes:
        views = [_with_last(volume, axis) for axis in volume.axes]
        turned += [view for view in views if fits(view.data.shape, factors, patch)]
    return turned


def fits(shape: Iterable[int], factors: Factors, patch: int) -> bool:
    """Whether a patch of ``patch`` low voxels has room in a high volume."""
    return all(n >= patch * factor for n, factor in zip(shape, factors, strict=True))


def _with_last(volume: TrainingVolume, axis: int) -> TrainingVolume:
    """The volume with an axis brought last, as one of those that it is sharp along."""
    sizes = list(volume.voxel_size)
    sizes.append(sizes.pop(axis))
    weight = volume.weight / len(volume.axes)
    data = volume.data.movedim(axis, 2)
    return replace(volume, data=data, voxel_size=tuple(sizes), weight=weight, axes=(2,))


def sharpened(volume: TrainingVolume, size_mm: float, minimum: Sequence[int]) -> torch.Tensor:
    """The volume cropped in k-space to about ``size_mm``; axes coarser than that stay.

    No axis gets fewer than its ``minimum`` of voxels unless it has fewer already.
    """
    targets = [
        min(n, max(round(n * size / size_mm), least)) if size_mm > 0 else n
        for n, size, least in zip(volume.data.shape, volume.voxel_size, minimum, strict=True)
    ]
    if targets == list(volume.data.shape):
        return volume.data
    matrices = [fourier_matrix(n, m) for n, m in zip(volume.data.shape, targets, strict=True)]
    return apply_matrices(volume.data, matrices).abs()


def as_sharp_as_it_is(volume: torch.Tensor, minimum: int) -> torch.Tensor:
    """The volume (I, J, K) cropped in k-space, along each axis, to what its spectrum holds.

    No axis gets fewer than ``minimum`` voxels unless it has. A network trained on soft targets
    learns to be soft.
    """
    falloff = spectral_falloff(volume[None, None])[0].tolist()
    targets = [
        min(n, max(round(n / resolution_along(bands)), minimum))
        for n, bands in zip(volume.shape, falloff, strict=True)
    ]
    if targets == list(volume.shape):
        return volume
    matrices = [fourier_matrix(n, m) for n, m in zip(volume.shape, targets, strict=True)]
    return apply_matrices(volume, matrices).abs()


def random_box(
    volume: torch.Tensor,
    minimum: Sequence[int],
    rng: np.random.Generator,
    maximum: int | None = None,
) -> torch.Tensor:
    """A box of the volume, of ``minimum`` voxels to all along each axis, off the outermost air.

    Of what it leaves out, at least a quarter lies on either side. No axis gets more than
    ``maximum`` voxels, if it is given and no less than the minimum.
    """
    ranges = [
        (least, n if maximum is None else min(n, max(maximum, least)))
        for n, least in zip(volume.shape, minimum, strict=True)
    ]
    sizes = [int(rng.integers(min(least, most), most + 1)) for least, most in ranges]
    starts = [
        round((n - size) * rng.uniform(0.25, 0.75))
        for n, size in zip(volume.shape, sizes, strict=True)
    ]
    i, j, k = (slice(start, start + size) for start, size in zip(starts, sizes, strict=True))
    return volume[i, j, k]


def at_random_phase(
    volume: torch.Tensor, factors: Factors, minimum: Sequence[int], rng: np.random.Generator
) -> torch.Tensor:
    """The volume from one of its first voxels on along each axis, as many as its factor.

    So low voxels fall on the same anatomy in as many ways as there are high voxels in one, where
    else a long training would see one of them hundreds of times. No axis gets fewer than its
    ``minimum`` of voxels.
    """
    i, j, k = (
        int(rng.integers(min(factor, n - least + 1)))
        for n, factor, least in zip(volume.shape, factors, minimum, strict=True)
    )
    return volume[i:, j:, k:]
