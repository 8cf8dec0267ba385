"""Training data: high-resolution volumes in, degraded patch pairs out.

Volumes are degraded whole, so that k-space truncation rings as it does in a scan, and patches are
cut from a pool of such pairs that is renewed as training goes on. Pair ``n`` and batch ``t`` depend
on the seed and their number alone: a resumed run sees exactly what an unbroken one would.
"""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from tdafd_cli.errors import DataError, VolumeError
from tdafd_cli.formats.files import read_volume
from tdafd_cli.formats.folders import volume_paths
from tdafd_cli.sampling.degradation import MixtureSettings, degrade, divisible, random_degradation
from tdafd_cli.sampling.matrices import apply_matrices, fourier_matrix
from tdafd_cli.sampling.spectrum import resolution_along, spectral_falloff
from tdafd_cli.training.augmentation import (
    ContrastSettings,
    random_contrast,
    random_symmetry,
    transformed,
)
from tdafd_cli.training.processing import (
    ProcessingSettings,
    random_artefact,
    random_processing,
)
from tdafd_cli.training.synthetic import SyntheticSettings, invented_contrast, synthetic_volume
from tdafd_cli.volumes.intensity import intensity_range, normalise

LABEL_BOX = 128  # voxels: most that is painted of a label map for one pair
FOREGROUND_LEVEL = 0.08  # of a normalised low volume
MAXIMUM_CENTRES = 4096  # foreground voxels kept per pair to place patches at


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
    """

    pattern: str = "**/*"
    weight: float = 1.0
    sizes_mm: tuple[float, ...] = (0.0,)
    labels: bool = False


@dataclass(frozen=True)
class DatasetSettings:
    """How patches are made.

    Parameters
    ----------
    patch : int
        Edge of a low patch in voxels, a multiple of the network's grid.
    batch : int
        Patches per step.
    pool : int
        Degraded volumes that patches are cut from at any time.
    steps_per_pair : int
        Steps after which the oldest of the pool is replaced.
    foreground : float
        Share of patches that are centred on tissue.
    sources : tuple of Source
    degradation : MixtureSettings
    contrast : ContrastSettings
    workers : int
        Threads that prepare pairs ahead; 0 prepares them between steps.
    crop_probability : float
        Share of pairs whose volume is first cropped to a box: slabs and small fields of view, whose
        spectra are noisier.
    processing : ProcessingSettings
        How often volumes are shown as no scanner makes them.
    synthetic : SyntheticSettings
        How often volumes are shown that no scanner made.
    """

    patch: int = 32
    batch: int = 2
    pool: int = 16
    steps_per_pair: int = 20
    foreground: float = 0.9
    sources: tuple[Source, ...] = (Source(),)
    degradation: MixtureSettings = field(default_factory=MixtureSettings)
    contrast: ContrastSettings = field(default_factory=ContrastSettings)
    workers: int = 0
    crop_probability: float = 0.0
    processing: ProcessingSettings = field(default_factory=ProcessingSettings)
    synthetic: SyntheticSettings = field(default_factory=SyntheticSettings)


@dataclass(frozen=True)
class TrainingVolume:
    """A high-resolution volume with its tissue at about 0 to 1, or a label map."""

    data: torch.Tensor  # (I, J, K) float32, int32 of a label map
    voxel_size: tuple[float, ...]
    weight: float
    sizes_mm: tuple[float, ...]
    labels: bool = False


@dataclass(frozen=True)
class Pair:
    """A degraded volume and its target, on face-aligned grids."""

    low: torch.Tensor  # (I, J, K)
    high: torch.Tensor  # (sI, sJ, sK)
    centres: torch.Tensor  # (n, 3) foreground voxels of ``low``
    falloff: torch.Tensor  # (3, bands), of the whole of ``low``
    processed: bool = False


class Batch(NamedTuple):
    """What one step sees.

    Attributes
    ----------
    low : (B, 1, p, p, p) float32 tensor
    high : (B, 1, sp, sp, sp) float32 tensor
    falloff : (B, 3, bands) float32 tensor
        Of the whole low volumes that the patches are from.
    processed : (B,) bool tensor
        Whether they are from volumes as no scanner makes them; none are if it is None.
    """

    low: torch.Tensor
    high: torch.Tensor
    falloff: torch.Tensor
    processed: torch.Tensor | None = None

    @property
    def scale(self) -> int:
        """High voxels per low voxel along each axis."""
        return self.high.shape[-1] // self.low.shape[-1]


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
        Voxels that every axis must have: the edge of a high patch.
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
    if min(volume.shape) < smallest:
        raise DataError(
            f"{path}: shape {volume.shape} is smaller than a patch, which takes {smallest} voxels "
            "along each axis; leave it out, or lower patch under [dataset] in the recipe"
        )
    sizes = tuple(float(size) for size in volume.voxel_size)
    if source.labels:
        labels = torch.from_numpy(np.asarray(volume.data).round().astype(np.int32))
        return TrainingVolume(labels, sizes, source.weight, source.sizes_mm, labels=True)
    data = torch.from_numpy(normalise(volume.data, intensity_range(volume.data)))
    if source.sizes_mm:
        return TrainingVolume(data, sizes, source.weight, source.sizes_mm)
    sharp = as_sharp_as_it_is(data, smallest)
    sizes = tuple(size * n / m for size, n, m in zip(sizes, data.shape, sharp.shape, strict=True))
    return TrainingVolume(sharp, sizes, source.weight, (0.0,))


def make_pair(
    volumes: Sequence[TrainingVolume], settings: DatasetSettings, scale: int, seed: int, index: int
) -> Pair:
    """Pair ``index``: a volume, target size, contrast and degradation drawn from the seed."""
    rng = np.random.default_rng((seed, 1, index))
    # From a stream of its own, so that recipes without it see the patches they always saw.
    invented = np.random.default_rng((seed, 5, index))
    if invented.random() < settings.synthetic.probability:
        high = synthetic_volume(settings.synthetic, seed, index)
    else:
        high = drawn_volume(volumes, settings, scale, rng)
    high = divisible(at_random_phase(high, scale, settings.patch * scale, rng), scale)
    high = random_contrast(high, rng, settings.contrast)
    # From a stream of its own, so that recipes without it see the patches they always saw.
    unlike = np.random.default_rng((seed, 3, index))
    processed = bool(unlike.random() < settings.processing.probability)
    if processed:
        high = random_processing(high, scale, unlike)
    generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
    low = degrade(high, scale, random_degradation(rng, settings.degradation), generator)
    if unlike.random() < settings.processing.artefacts:
        low, processed = random_artefact(low, unlike), True
    span = intensity_range(low.numpy())
    low = torch.from_numpy(normalise(low.numpy(), span))
    high = torch.from_numpy(normalise(high.numpy(), span))
    tissue = (low > FOREGROUND_LEVEL).nonzero()
    chosen = torch.randint(max(len(tissue), 1), (MAXIMUM_CENTRES,), generator=generator)
    centres = tissue[chosen] if len(tissue) else tissue
    return Pair(low, high, centres, spectral_falloff(low[None, None])[0], processed)


def drawn_volume(
    volumes: Sequence[TrainingVolume],
    settings: DatasetSettings,
    scale: int,
    rng: np.random.Generator,
) -> torch.Tensor:
    """One of the volumes (I, J, K), at a target size or painted from its labels, maybe a box."""
    weights = np.array([volume.weight for volume in volumes])
    volume = volumes[rng.choice(len(volumes), p=weights / weights.sum())]
    minimum = settings.patch * scale
    if volume.labels:
        return invented_contrast(random_box(volume.data, minimum, rng, LABEL_BOX), rng)
    high = sharpened(volume, float(rng.choice(volume.sizes_mm)), minimum)
    # Without crops nothing is drawn, so that recipes without them see the patches they always saw.
    if settings.crop_probability > 0 and rng.random() < settings.crop_probability:
        high = random_box(high, minimum, rng)
    return high


def sharpened(volume: TrainingVolume, size_mm: float, minimum: int) -> torch.Tensor:
    """The volume cropped in k-space to about ``size_mm``; axes coarser than that stay.

    No axis gets fewer than ``minimum`` voxels unless it has fewer already.
    """
    targets = [
        min(n, max(round(n * size / size_mm), minimum)) if size_mm > 0 else n
        for n, size in zip(volume.data.shape, volume.voxel_size, strict=True)
    ]
    if targets == list(volume.data.shape):
        return volume.data
    matrices = [fourier_matrix(n, m) for n, m in zip(volume.data.shape, targets, strict=True)]
    return apply_matrices(volume.data, matrices).abs()


def as_sharp_as_it_is(volume: torch.Tensor, minimum: int) -> torch.Tensor:
    """The volume (I, J, K) cropped in k-space, along each axis, to what its spectrum holds.

    No axis gets fewer than ``minimum`` voxels. A network trained on soft targets learns to be soft.
    """
    falloff = spectral_falloff(volume[None, None])[0].tolist()
    targets = [
        max(round(n / resolution_along(bands)), minimum)
        for n, bands in zip(volume.shape, falloff, strict=True)
    ]
    if targets == list(volume.shape):
        return volume
    matrices = [fourier_matrix(n, m) for n, m in zip(volume.shape, targets, strict=True)]
    return apply_matrices(volume, matrices).abs()


def random_box(
    volume: torch.Tensor, minimum: int, rng: np.random.Generator, maximum: int | None = None
) -> torch.Tensor:
    """A box of the volume, of ``minimum`` voxels to all along each axis, off the outermost air.

    Of what it leaves out, at least a quarter lies on either side. No axis gets more than
    ``maximum`` voxels, if it is given and no less than the minimum.
    """
    most = [n if maximum is None else min(n, max(maximum, minimum)) for n in volume.shape]
    sizes = [int(rng.integers(min(minimum, n), n + 1)) for n in most]
    starts = [
        round((n - size) * rng.uniform(0.25, 0.75))
        for n, size in zip(volume.shape, sizes, strict=True)
    ]
    i, j, k = (slice(start, start + size) for start, size in zip(starts, sizes, strict=True))
    return volume[i, j, k]


def at_random_phase(
    volume: torch.Tensor, scale: int, minimum: int, rng: np.random.Generator
) -> torch.Tensor:
    """The volume from one of its first ``scale`` voxels on along each axis.

    So low voxels fall on the same anatomy in ``scale**3`` ways, where else a long training would
    see one of them hundreds of times. No axis gets fewer than ``minimum`` voxels.
    """
    i, j, k = (int(rng.integers(min(scale, n - minimum + 1))) for n in volume.shape)
    return volume[i:, j:, k:]


def pairs_from(
    volumes: Sequence[TrainingVolume], settings: DatasetSettings, scale: int, seed: int, first: int
) -> Iterator[Pair]:
    """Pairs ``first``, ``first + 1``, ..., prepared ahead by ``settings.workers`` threads."""
    if settings.workers == 0:
        while True:
            yield make_pair(volumes, settings, scale, seed, first)
            first += 1
    with ThreadPoolExecutor(settings.workers) as executor:
        numbers = count(first)
        ahead = deque(
            executor.submit(make_pair, volumes, settings, scale, seed, next(numbers))
            for _ in range(2 * settings.workers)
        )
        while True:
            ahead.append(executor.submit(make_pair, volumes, settings, scale, seed, next(numbers)))
            yield ahead.popleft().result()


def batches(
    volumes: Sequence[TrainingVolume],
    settings: DatasetSettings,
    *,
    scale: int,
    seed: int,
    first_step: int = 0,
    device: torch.device | None = None,
    rank: int = 0,
    processes: int = 1,
) -> Iterator[Batch]:
    """Patches of steps ``first_step``, ``first_step + 1``, ...

    Of ``processes`` that train together each gets its share of the same batch: patches ``rank``,
    ``rank + processes``, ...

    With ``device`` given, they are there.
    """
    oldest = first_step // settings.steps_per_pair
    stream = pairs_from(volumes, settings, scale, seed, oldest)
    pool = deque((_on(next(stream), device) for _ in range(settings.pool)), settings.pool)
    step = first_step
    while True:
        while step // settings.steps_per_pair > oldest:
            pool.append(_on(next(stream), device))
            oldest += 1
        rng = np.random.default_rng((seed, 2, step))
        chosen = [pool[rng.integers(len(pool))] for _ in range(settings.batch)]
        patches = [cut_patch(pair, settings, scale, rng) for pair in chosen]
        low, high, falloff = map(torch.stack, zip(*patches[rank::processes], strict=True))
        processed = torch.tensor([pair.processed for pair in chosen[rank::processes]])
        yield Batch(low[:, None], high[:, None], falloff, processed)
        step += 1


def _on(pair: Pair, device: torch.device | None) -> Pair:
    if device is None:
        return pair
    low, high, falloff = (part.to(device) for part in (pair.low, pair.high, pair.falloff))
    return replace(pair, low=low, high=high, falloff=falloff)


def cut_patch(
    pair: Pair, settings: DatasetSettings, scale: int, rng: np.random.Generator
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """A random patch (p, p, p) of the low volume, its target (sp, sp, sp) and its fall-off.

    All are turned alike.
    """
    patch, shape = settings.patch, np.array(pair.low.shape)
    start = rng.integers(0, shape - patch + 1)
    if len(pair.centres) and rng.random() < settings.foreground:
        centre = pair.centres[rng.integers(len(pair.centres))].numpy()
        start = np.clip(centre - rng.integers(patch // 4, 3 * patch // 4, size=3), 0, shape - patch)
    symmetry = random_symmetry(rng)
    i, j, k = (int(value) for value in start)
    low = pair.low[i : i + patch, j : j + patch, k : k + patch]
    i, j, k, patch = i * scale, j * scale, k * scale, patch * scale
    high = pair.high[i : i + patch, j : j + patch, k : k + patch]
    order, _ = symmetry
    return transformed(low, symmetry), transformed(high, symmetry), pair.falloff[list(order)]
