"""Synthetic volumes: sharp, without licence, and as many as training asks for.

Dead leaves in three dimensions: ellipsoids, tubes and sheets over several octaves of size, painted
from large to small so that they hide each other as organs and tissues do (after Achddou, Gousseau
and Ladjal, 2021, who trained restoration networks on flat ones). And anatomy of invented contrast:
label maps of which every class gets a random intensity and texture (after SynthSeg). What either
kind teaches is general; real texture and real noise must come from real volumes.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.fft import fftfreq, irfftn, rfftfreq, rfftn
from scipy.ndimage import gaussian_filter

Array = NDArray[np.float32]
Distance = Callable[[Array], Array]

RADII = (2.0, 48.0)  # voxels
OBJECTS_PER_VOXEL = 2500 / 128**3
EDGES = (0.8, 1.6)  # voxels over which one object gives way to the next: partial volume
WARP_SIGMA, WARP_MAXIMUM = 8.0, 3.0  # voxels
PALETTE = (4, 13)  # intensities in one volume
TEXTURE_SIGMAS = (0.7, 1.5, 4.0)  # voxels
TEXTURE_MAXIMUM = 0.03
NOISE_MAXIMUM = 0.03
LABEL_BLUR = (0.6, 1.0)  # voxels; a label map's borders are steps
LABEL_JITTER = 0.06


@dataclass(frozen=True)
class SyntheticSettings:
    """How often training sees volumes that no scanner made.

    Parameters
    ----------
    probability : float
        Share of pairs that come from synthetic volumes.
    edge : int
        Edge of such a volume in voxels.
    pairs : int
        Pairs in a row among which synthetic ones share a volume, each with a contrast and
        a degradation of its own: making a volume takes as long as several steps.
    noise : float
        Share of volumes with Rician noise in the high-resolution target, as scans have.
    air : float
        Share of volumes of which only a body in empty space is kept.
    """

    probability: float = 0.0
    edge: int = 128
    pairs: int = 4
    noise: float = 0.5
    air: float = 0.4


def synthetic_volume(settings: SyntheticSettings, seed: int, index: int) -> torch.Tensor:
    """Volume (n, n, n) of pair ``index``, intensities from 0 to about 1.

    It depends on the seed and the number alone, and is the same for ``settings.pairs`` successive
    numbers.
    """
    return _painted_once(settings, seed, index // settings.pairs)


@lru_cache(maxsize=4)
def _painted_once(settings: SyntheticSettings, seed: int, number: int) -> torch.Tensor:
    rng = np.random.default_rng((seed, 4, number))
    volume = dead_leaves(settings.edge, rng)
    if rng.random() < settings.air:
        volume *= _body(settings.edge, rng)
    if rng.random() < settings.noise:
        volume = _noisy(volume, rng)
    return torch.from_numpy(volume)


def dead_leaves(edge: int, rng: np.random.Generator) -> Array:
    """Volume (edge, edge, edge) of objects that hide each other, intensities within 0 to 1."""
    palette = rng.uniform(0.05, 1.0, rng.integers(*PALETTE)).astype(np.float32)
    volume, roughness = _layered(edge, palette, rng), np.zeros((edge,) * 3, np.float32)
    warp = _warp(edge, rng)
    least, greatest = RADII
    count = int(OBJECTS_PER_VOXEL * edge**3)
    # With a density of r^-3 every octave of size fills about as much space.
    share = rng.random(count)
    radii = (greatest**-2 + share * (least**-2 - greatest**-2)) ** -0.5
    for radius in np.sort(radii)[::-1]:
        _paint(volume, roughness, warp, float(radius), palette, rng)
    volume += roughness * _texture(edge, rng)
    return volume.clip(0, None)


def invented_contrast(labels: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
    """Volume of a label map's shape: a random intensity and texture for each label.

    Label 0 is air half of the time. Borders are blurred to about a voxel, as partial volume does.
    """
    values, inverse = np.unique(labels.numpy(), return_inverse=True)
    means = rng.uniform(0.05, 1.0, len(values)).astype(np.float32)
    roughness = rng.uniform(0, TEXTURE_MAXIMUM, len(values)).astype(np.float32)
    if values[0] == 0 and rng.random() < 0.5:
        means[0] = roughness[0] = 0.0
    index = inverse.reshape(tuple(labels.shape))
    blur = float(rng.uniform(*LABEL_BLUR))
    volume = gaussian_filter(means[index], blur)
    # Within a class intensities drift, as tissue does from place to place.
    drift = _field(volume.shape, float(rng.uniform(4, 12)), rng) * float(rng.uniform(0, 1))
    volume *= 1 + LABEL_JITTER * drift
    volume += gaussian_filter(roughness[index], blur) * _field(
        volume.shape, float(rng.choice(TEXTURE_SIGMAS)), rng
    )
    if rng.random() < 0.5:
        volume = _noisy(volume, rng)
    return torch.from_numpy(volume.clip(0, None))


def _field(shape: tuple[int, ...], sigma: float, rng: np.random.Generator) -> Array:
    """Smooth periodic noise with mean 0 and standard deviation 1."""
    spectrum = rfftn(rng.standard_normal(shape, dtype=np.float32))
    for axis, n in enumerate(shape):
        frequency = (rfftfreq if axis == len(shape) - 1 else fftfreq)(n)
        gain = np.exp(-2 * (np.pi * sigma * frequency) ** 2).astype(np.float32)
        spectrum *= gain.reshape([-1 if other == axis else 1 for other in range(len(shape))])
    spectrum[(0,) * len(shape)] = 0
    noise = irfftn(spectrum, shape)
    field: Array = noise / noise.std()
    return field


def _warp(edge: int, rng: np.random.Generator) -> Array:
    """Displacements (3, edge, edge, edge) in voxels that bend the surfaces of objects."""
    fields = np.stack([_field((edge,) * 3, WARP_SIGMA, rng) for _ in range(3)])
    warp: Array = fields * np.float32(WARP_MAXIMUM / 2.5 * rng.random())
    return warp.clip(-WARP_MAXIMUM, WARP_MAXIMUM)


def _texture(edge: int, rng: np.random.Generator) -> Array:
    """A random blend of fine and coarse noise, with standard deviation about 1."""
    shares = rng.dirichlet(np.ones(len(TEXTURE_SIGMAS)))
    fields = (_field((edge,) * 3, sigma, rng) for sigma in TEXTURE_SIGMAS)
    texture: Array = sum(
        (np.float32(share**0.5) * field for share, field in zip(shares, fields, strict=True)),
        np.zeros((edge,) * 3, np.float32),
    )
    return texture


def _layered(edge: int, palette: Array, rng: np.random.Generator) -> Array:
    """A ground of folded layers: level sets of two smooth fields, their borders a voxel wide."""
    layers = []
    for _ in range(2):
        field = _field((edge,) * 3, float(rng.uniform(2, 7)), rng)
        slope = np.sqrt(sum(g**2 for g in np.gradient(field))) + np.float32(1e-3)
        layer = np.full(field.shape, rng.choice(palette), np.float32)
        for level in np.sort(rng.uniform(-1.2, 1.2, rng.integers(2, 6))):
            share = (0.5 + (field - np.float32(level)) / slope).clip(0, 1)
            layer += share * (rng.choice(palette) - layer)
        layers.append(layer)
    share = (0.5 + _field((edge,) * 3, 10.0, rng) * 4).clip(0, 1)
    layers[0] += share * (layers[1] - layers[0])
    return layers[0]


def _paint(
    volume: Array,
    roughness: Array,
    warp: Array,
    radius: float,
    palette: Array,
    rng: np.random.Generator,
) -> None:
    """Paint one object over what is there, in place."""
    edge = volume.shape[0]
    centre = rng.uniform(0, edge, 3)
    reach = radius + WARP_MAXIMUM + EDGES[1]
    starts = np.maximum(np.floor(centre - reach), 0).astype(int)
    stops = np.minimum(np.ceil(centre + reach) + 1, edge).astype(int)
    box = tuple(slice(a, b) for a, b in zip(starts, stops, strict=True))
    grids = [
        np.arange(a, b, dtype=np.float32) - np.float32(c)
        for a, b, c in zip(starts, stops, centre, strict=True)
    ]
    i, j, k = box
    offsets = np.stack(np.meshgrid(*grids, indexing="ij")) + warp[:, i, j, k]
    turned = np.tensordot(_rotation(rng), offsets, axes=1)
    inside = _distance(radius, rng)(turned)  # voxels within the surface
    share = (0.5 + inside / np.float32(rng.uniform(*EDGES))).clip(0, 1)
    value = np.float32(rng.choice(palette) + rng.normal(0, 0.02))
    volume[box] += share * (value - volume[box])
    roughness[box] += share * (np.float32(rng.uniform(0, TEXTURE_MAXIMUM)) - roughness[box])


def _distance(radius: float, rng: np.random.Generator) -> Distance:
    """Of one of the shapes: how far points (3, ...) lie within its surface, in voxels, roughly."""
    kind = rng.random()
    if kind < 0.5:
        axes = (radius * np.array([1.0, *rng.uniform(0.35, 1.0, 2)])).astype(np.float32)
        return lambda points: _within_ellipsoid(points, axes)
    half = np.float32(np.exp(rng.uniform(np.log(0.5), np.log(max(0.25 * radius, 0.6)))))
    if kind < 0.75:  # a tube along the first axis
        return lambda points: np.minimum(
            half - np.hypot(points[1], points[2]), np.float32(radius) - np.abs(points[0])
        )
    return lambda points: np.minimum(  # a sheet across the first axis
        half - np.abs(points[0]), np.float32(radius) - np.hypot(points[1], points[2])
    )


def _within_ellipsoid(points: Array, axes: Array) -> Array:
    scaled = points / axes[:, None, None, None]
    norm = np.sqrt((scaled**2).sum(axis=0))
    gradient = np.sqrt(((scaled / axes[:, None, None, None]) ** 2).sum(axis=0))
    within: Array = (1 - norm) * norm / np.maximum(gradient, np.float32(1e-6))
    # At the centre both vanish; nothing is deeper than the shortest axis.
    within[norm < 1e-3] = axes.min()
    return within.clip(None, axes.min())


def _rotation(rng: np.random.Generator) -> Array:
    """A random rotation matrix (3, 3), from a random unit quaternion."""
    quaternion = rng.standard_normal(4)
    w, x, y, z = quaternion / np.sqrt((quaternion**2).sum())
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
            [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
            [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
        ],
        dtype=np.float32,
    )


def _body(edge: int, rng: np.random.Generator) -> Array:
    """1 in a bent ellipsoid that leaves some of the volume empty, 0 beyond it."""
    grid = (np.arange(edge, dtype=np.float32) - (edge - 1) / 2) / (edge / 2)
    points = np.stack(np.meshgrid(grid, grid, grid, indexing="ij"))
    points -= rng.uniform(-0.2, 0.2, 3).astype(np.float32)[:, None, None, None]
    axes = rng.uniform(0.6, 1.1, 3).astype(np.float32)
    norm = np.sqrt(((points / axes[:, None, None, None]) ** 2).sum(axis=0))
    norm += np.float32(0.04) * _field((edge,) * 3, 6.0, rng)
    width = np.float32(rng.uniform(*EDGES) * 2 / edge)
    body: Array = (0.5 + (1 - norm) / width).clip(0, 1)
    return body


def _noisy(volume: Array, rng: np.random.Generator) -> Array:
    """Rician noise, its strength even or varying over the volume as behind a phased array."""
    sigma = np.float32(rng.uniform(0, NOISE_MAXIMUM)) * np.ones(1, np.float32)
    if rng.random() < 0.5:
        sigma = sigma * np.exp(0.3 * _field(volume.shape, 16.0, rng))
    real, imaginary = rng.standard_normal((2, *volume.shape), dtype=np.float32) * sigma
    noisy: Array = np.hypot(volume + real, imaginary)
    return noisy
