"""Trust: how much of the network's result is used on a volume as smooth, or as noisy, as this one.

Networks learn from sharp volumes which detail a degradation removed. In a volume with less detail
than its voxels could hold, as after smoothing or a scanner's own interpolation, they add detail
that never existed. Such a volume is recognised by its spectrum, which falls lower, or more steeply,
than that of any sharp volume under any degradation of the training mixture. The further beyond, the
larger the share of interpolation in the result, which is nearly exact on such volumes. The same is
done where the spectrum hardly falls at all, as in noise.
"""

from dataclasses import dataclass
from types import MappingProxyType

import torch

from tdafd_cli.networks.limits import FALLOFF_LIMITS
from tdafd_cli.sampling.spectrum import BANDS, FEWEST_VOXELS
from tdafd_cli.volumes.findings import Finding

STEEPEST = MappingProxyType(
    {
        2: (-0.34, -0.42, -0.46, -0.52, -0.86, -1.21),
        3: (-0.18, -0.21, -0.21, -0.31, -0.67, -1.07),
        4: (-0.18, -0.21, -0.21, -0.31, -0.54, -0.69),
    }
)
"""Steepest change of the fall-off from each band to the next but one, by scale, in decades.

Of the same training pairs as `FALLOFF_LIMITS`; those of x4 and x3 joined where they differ little.
"""

EXCESS = (0.2, 0.5)
"""Decades beyond the limits at which trust begins to fade, and at which none is left.

The native volumes of the training and validation sets exceed the limits of x2 by 0.00 at most.
"""

ROUGHNESS = (0.3, 0.6)
"""Decades above the limits between which trust fades in noise. Sharp scans of thick slices exceed
those of x2 by up to 0.2 across the slices; noise alone by 1.1. There a B-spline is best: it lay
0.00 to 0.09 dB below the best of it, trilinear and sinc, and the networks up to 0.2."""

HELD = -0.7
"""Fall-off, in decades below the usual, at which the resolution of a volume is read off: a fifth of
the usual power. Applied to scans whose phase axis was interpolated from 1.4 to 1.6 voxels, it gives
1.3 to 1.5."""


@dataclass(frozen=True)
class Trust:
    """How a volume's spectrum compares with those of training.

    Attributes
    ----------
    share : float
        Of the network in the result, from 0 to 1; the rest is interpolation.
    interpolation : {"sinc", "bspline"}
        Which, if any.
    excess : tuple of float
        Decades by which the spectrum along I, J and K goes beyond that of any sharp volume.
    resolution : tuple of float
        True resolution along I, J and K, in voxels of the volume: 1 where it is as fine as the
        voxels, 2 where voxels twice as long would hold as much.
    """

    share: float
    interpolation: str
    excess: tuple[float, ...]
    resolution: tuple[float, ...]


def trust_in(falloff: torch.Tensor, shape: tuple[int, ...], scale: int) -> Trust:
    """Trust in the weights of a scale on a volume, from its fall-off (3, bands) and its shape."""
    judged = [
        bands if length >= FEWEST_VOXELS else [0.0] * len(bands)
        for bands, length in zip(falloff.tolist(), shape, strict=True)
    ]
    excess = [_excess(bands, scale) for bands in judged]
    too_smooth = _faded(max(excess), *EXCESS)
    too_rough = _faded(max(_roughness(bands, scale) for bands in judged), *ROUGHNESS)
    begin = EXCESS[0]
    return Trust(
        share=1 - max(too_smooth, too_rough),
        interpolation="bspline" if too_rough > too_smooth else "sinc",
        excess=tuple(round(value, 2) for value in excess),
        resolution=tuple(
            round(_resolution(bands), 2) if value > begin else 1.0
            for bands, value in zip(judged, excess, strict=True)
        ),
    )


def _excess(bands: list[float], scale: int) -> float:
    """Decades by which a fall-off is deeper or steeper than any of training."""
    depths = [limit - band for limit, band in zip(FALLOFF_LIMITS[scale][0], bands, strict=True)]
    cliffs = [
        limit - (after - before)
        for limit, before, after in zip(STEEPEST[scale], bands, bands[2:], strict=False)
    ]
    return max(0.0, *depths, *cliffs)


def _roughness(bands: list[float], scale: int) -> float:
    """Decades by which a fall-off is above any of training."""
    return max(band - limit for limit, band in zip(FALLOFF_LIMITS[scale][1], bands, strict=True))


def _faded(value: float, begin: float, end: float) -> float:
    """Ramp: 0 up to ``begin``, 1 from ``end`` on, and linear in between."""
    return min(1.0, max(0.0, (value - begin) / (end - begin)))


def _resolution(bands: list[float]) -> float:
    """True resolution along an axis, in voxels: where the fall-off passes HELD."""
    before, level = BANDS[0], 0.0
    for frequency, band in zip(BANDS, bands, strict=True):
        if band < HELD:
            fraction = (level - HELD) / max(level - band, 1e-6) if level > HELD else 0.0
            return 1 / (before + fraction * (frequency - before))
        before, level = frequency, band
    return 1.0


def trust_findings(
    trust: Trust, voxel_size: tuple[float, ...], network_share: float
) -> list[Finding]:
    """What a user should know of a scan's sharpness, and of the interpolation that came of it."""
    findings = []
    coarse = [
        (axis, size * factor, size)
        for axis, size, factor in zip("IJK", voxel_size, trust.resolution, strict=True)
        if factor > 1
    ]
    if coarse:
        held = ", ".join(f"{held:.2g} mm along {axis}" for axis, held, _ in coarse)
        size = ", ".join(f"{size:.2g}" for *_, size in coarse)
        findings.append(
            Finding(
                "interpolated",
                f"the scan holds about {held}, although its voxels are {size} mm: it was "
                "interpolated or smoothed before; upscale the volume it was made from, or expect "
                "little",
                {
                    "axes": [axis for axis, *_ in coarse],
                    "resolution_mm": [round(held, 3) for _, held, _ in coarse],
                    "voxel_mm": [round(size, 3) for *_, size in coarse],
                },
            )
        )
    if network_share < 1:
        name, kind = ("sinc", "smooth") if trust.interpolation == "sinc" else ("B-spline", "noisy")
        findings.append(
            Finding(
                "fallback",
                f"{1 - network_share:.0%} of the result is {name} interpolation, as the network "
                f"saw no scan so {kind} in training; --no-fallback uses the network alone",
                {"interpolation_share": round(1 - network_share, 3), "interpolation": name},
            )
        )
    return findings
