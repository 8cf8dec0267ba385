"""Training data: high-resolution volumes in, degraded patch pairs out.

Volumes are degraded whole, so that k-space truncation rings as it does in a scan, and patches are
cut from a pool of such pairs that is renewed as training goes on. Pair ``n`` and batch ``t`` depend
on the seed and their number alone: a resumed run sees exactly what an unbroken one would.

For a network that makes slices thinner, volumes are turned so that slices follow one another along
the last axis, whichever it is in their files.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from itertools import count
from typing import NamedTuple

import numpy as np
import torch

from tdafd_cli.sampling.degradation import (
    Degradation,
    MixtureSettings,
    SliceSettings,
    degrade,
    divisible,
    random_degradation,
    random_slices,
)
from tdafd_cli.sampling.factors import Factors, factors_between, factors_of
from tdafd_cli.sampling.spectrum import spectral_falloff
from tdafd_cli.training.augmentation import (
    ContrastSettings,
    elongated,
    random_contrast,
    random_symmetry,
    soft_in_plane,
    transformed,
)
from tdafd_cli.training.processing import (
    ProcessingSettings,
    random_artefact,
    random_processing,
)
from tdafd_cli.training.synthetic import SyntheticSettings, invented_contrast, synthetic_volume
from tdafd_cli.training.volumes import (
    Source,
    TrainingVolume,
    at_random_phase,
    random_box,
    sharpened,
    usable,
)
from tdafd_cli.volumes.intensity import intensity_range, normalise

LABEL_BOX = 128  # voxels: most that is painted of a label map for one pair
FOREGROUND_LEVEL = 0.08  # of a normalised low volume
MAXIMUM_CENTRES = 4096  # foreground voxels kept per pair to place patches at


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
    slices : SliceSettings
        How networks for one axis see it degraded, in place of ``degradation``.
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
    slices: SliceSettings = field(default_factory=SliceSettings)


@dataclass(frozen=True)
class Pair:
    """A degraded volume and its target, on face-aligned grids."""

    low: torch.Tensor  # (I, J, K)
    high: torch.Tensor  # (sI, sJ, sK), or (I, J, sK)
    centres: torch.Tensor  # (n, 3) foreground voxels of ``low``
    falloff: torch.Tensor  # (3, bands), of the whole of ``low``
    processed: bool = False


class Batch(NamedTuple):
    """What one step sees.

    Attributes
    ----------
    low : (B, 1, p, p, p) float32 tensor
    high : (B, 1, sp, sp, sp) or (B, 1, p, p, sp) float32 tensor
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
    def factors(self) -> Factors:
        """High voxels per low voxel along I, J and K."""
        return factors_between(self.low.shape[2:], self.high.shape[2:])


def make_pair(
    volumes: Sequence[TrainingVolume],
    settings: DatasetSettings,
    scale: int | Factors,
    seed: int,
    index: int,
) -> Pair:
    """Pair ``index``: a volume, target size, contrast and degradation drawn from the seed."""
    factors = factors_of(scale)
    minimum = smallest_high(settings, factors)
    thick = factors[0] == 1
    slices = np.random.default_rng((seed, 6, index))  # draws for networks for one axis alone
    rng = np.random.default_rng((seed, 1, index))
    # From a stream of its own, so that recipes without it see the patches they always saw.
    invented = np.random.default_rng((seed, 5, index))
    if invented.random() < settings.synthetic.probability:
        high = synthetic_volume(settings.synthetic, seed, index)
    else:
        fitting = usable(volumes, factors, settings.patch)
        high = drawn_volume(fitting, settings, minimum, rng)
    if thick:
        high = elongated(high, minimum, slices, settings.slices)
    high = divisible(at_random_phase(high, factors, minimum, rng), factors)
    high = random_contrast(high, rng, settings.contrast)
    if thick:
        high = soft_in_plane(high, slices, settings.slices)
    # From a stream of its own, so that recipes without it see the patches they always saw.
    unlike = np.random.default_rng((seed, 3, index))
    processed = bool(unlike.random() < settings.processing.probability)
    if processed:
        high = random_processing(high, factors, unlike)
    generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
    low = degrade(high, factors, _drawn_degradation(settings, thick, rng, slices), generator)
    if unlike.random() < settings.processing.artefacts:
        low, processed = random_artefact(low, unlike), True
    span = intensity_range(low.numpy())
    low = torch.from_numpy(normalise(low.numpy(), span))
    high = torch.from_numpy(normalise(high.numpy(), span))
    tissue = (low > FOREGROUND_LEVEL).nonzero()
    chosen = torch.randint(max(len(tissue), 1), (MAXIMUM_CENTRES,), generator=generator)
    centres = tissue[chosen] if len(tissue) else tissue
    falloff = spectral_falloff(low[None, None])[0]
    if thick and slices.random() < settings.slices.untold:
        falloff[2] = 0.0  # as of a scan with a dozen slices
    return Pair(low, high, centres, falloff, processed)


def _drawn_degradation(
    settings: DatasetSettings, thick: bool, rng: np.random.Generator, slices: np.random.Generator
) -> Degradation:
    if thick:
        return random_slices(slices, settings.slices, settings.degradation)
    return random_degradation(rng, settings.degradation)


def smallest_high(settings: DatasetSettings, factors: Factors) -> Factors:
    """High voxels (I, J, K) of a patch, which no volume may fall short of."""
    i, j, k = (settings.patch * factor for factor in factors)
    return i, j, k


def drawn_volume(
    volumes: Sequence[TrainingVolume],
    settings: DatasetSettings,
    minimum: Sequence[int],
    rng: np.random.Generator,
) -> torch.Tensor:
    """One of the volumes (I, J, K), at a target size or painted from its labels, maybe a box."""
    weights = np.array([volume.weight for volume in volumes])
    volume = volumes[rng.choice(len(volumes), p=weights / weights.sum())]
    if volume.labels:
        return invented_contrast(random_box(volume.data, minimum, rng, LABEL_BOX), rng)
    high = sharpened(volume, float(rng.choice(volume.sizes_mm)), minimum)
    # Without crops nothing is drawn, so that recipes without them see the patches they always saw.
    if settings.crop_probability > 0 and rng.random() < settings.crop_probability:
        high = random_box(high, minimum, rng)
    return high


def pairs_from(
    volumes: Sequence[TrainingVolume],
    settings: DatasetSettings,
    scale: int | Factors,
    seed: int,
    first: int,
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
    scale: int | Factors,
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
    pair: Pair, settings: DatasetSettings, scale: int | Factors, rng: np.random.Generator
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """A random patch (p, p, p) of the low volume, its target (sp, sp, sp) and its fall-off.

    All are turned alike, slices among themselves.
    """
    factors = factors_of(scale)
    patch, shape = settings.patch, np.array(pair.low.shape)
    start = rng.integers(0, shape - patch + 1)
    if len(pair.centres) and rng.random() < settings.foreground:
        centre = pair.centres[rng.integers(len(pair.centres))].numpy()
        start = np.clip(centre - rng.integers(patch // 4, 3 * patch // 4, size=3), 0, shape - patch)
    symmetry = random_symmetry(rng, slices_last=factors[0] == 1)
    corner = [int(value) for value in start]
    low, high = (
        volume[tuple(slice(n * f, (n + patch) * f) for n, f in zip(corner, steps, strict=True))]
        for volume, steps in ((pair.low, factors_of(1)), (pair.high, factors))
    )
    order, _ = symmetry
    return transformed(low, symmetry), transformed(high, symmetry), pair.falloff[list(order)]
