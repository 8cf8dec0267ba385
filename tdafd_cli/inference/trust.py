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
from tdafd_cli.sampling.factors import Factors, factors_of
from tdafd_cli.sampling.spectrum import FEWEST_VOXELS, resolution_along
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


def trust_in(falloff: torch.Tensor, shape: tuple[int, ...], scale: int | Factors) -> Trust:
    """Trust in the weights of a scale on a volume, from its fall-off (3, bands) and its shape.

    Weights for one axis are judged by the spectrum along the last: they leave the others as they
    are, soft or not.
    """
    factors = factors_of(scale)
    limits = limits_of(factors)
    axes = range(3) if min(factors) > 1 else (2,)
    judged = [
        bands if length >= FEWEST_VOXELS else [0.0] * len(bands)
        for bands, length in zip(falloff.tolist(), shape, strict=True)
    ]
    excess = [_excess(bands, limits) if axis in axes else 0.0 for axis, bands in enumerate(judged)]
    too_smooth = _faded(max(excess), *EXCESS)
    too_rough = _faded(max(_roughness(judged[axis], limits) for axis in axes), *ROUGHNESS)
    begin = EXCESS[0]
    return Trust(
        share=1 - max(too_smooth, too_rough),
        interpolation="bspline" if too_rough > too_smooth else "sinc",
        excess=tuple(round(value, 2) for value in excess),
        resolution=tuple(
            round(resolution_along(bands), 2) if value > begin else 1.0
            for bands, value in zip(judged, excess, strict=True)
        ),
    )


@dataclass(frozen=True)
class TrustLimits:
    """What sharp scans' fall-offs reach: the least, the greatest, and the steepest change."""

    lowest: tuple[float, ...]
    highest: tuple[float, ...]
    steepest: tuple[float, ...]


SLICE_LIMITS = MappingProxyType(
    {
        2: TrustLimits(
            (-0.13, -0.20, -0.22, -0.32, -0.45, -0.62, -0.78, -1.56),
            (0.20, 0.32, 0.50, 0.66, 0.81, 0.85, 0.95, 1.04),
            (-0.15, -0.20, -0.24, -0.48, -0.92, -1.45),
        ),
        3: TrustLimits(
            (-0.13, -0.16, -0.06, -0.05, -0.14, -0.34, -0.53, -1.53),
            (0.28, 0.39, 0.57, 0.72, 0.89, 0.96, 0.99, 1.08),
            (-0.14, -0.16, -0.24, -0.42, -0.88, -1.56),
        ),
        4: TrustLimits(
            (-0.26, -0.46, -0.27, -0.12, 0.00, 0.03, -0.43, -1.38),
            (0.32, 0.53, 0.69, 0.81, 0.99, 1.08, 1.06, 1.11),
            (0.00, -0.12, -0.15, -0.35, -0.86, -1.52),
        ),
        5: TrustLimits(
            (-0.27, -0.47, -0.27, -0.13, 0.00, 0.05, -0.37, -1.20),
            (0.40, 0.60, 0.77, 0.92, 1.02, 1.18, 1.15, 1.14),
            (0.00, 0.03, -0.12, -0.34, -0.77, -1.33),
        ),
        6: TrustLimits(
            (-0.52, -0.47, -0.27, -0.18, -0.06, -0.01, -0.39, -1.13),
            (0.40, 0.70, 0.87, 1.02, 1.16, 1.23, 1.24, 1.34),
            (-0.01, 0.06, -0.01, -0.33, -0.76, -1.23),
        ),
    }
)
"""By scale, along thick slices: of 90 pairs each that the recipe of tdafd-thick draws from scans
and label maps alone, without processing, November 2026."""


def limits_of(factors: Factors) -> TrustLimits:
    """Limits of the axes that weights for some factors are judged by."""
    if min(factors) > 1:
        return TrustLimits(*FALLOFF_LIMITS[factors[0]], STEEPEST[factors[0]])
    return SLICE_LIMITS[factors[2]]


def _excess(bands: list[float], limits: TrustLimits) -> float:
    """Decades by which a fall-off is deeper or steeper than any of training."""
    depths = [limit - band for limit, band in zip(limits.lowest, bands, strict=True)]
    cliffs = [
        limit - (after - before)
        for limit, before, after in zip(limits.steepest, bands, bands[2:], strict=False)
    ]
    return max(0.0, *depths, *cliffs)


def _roughness(bands: list[float], limits: TrustLimits) -> float:
    """Decades by which a fall-off is above any of training."""
    return max(band - limit for limit, band in zip(limits.highest, bands, strict=True))


def _faded(value: float, begin: float, end: float) -> float:
    """Ramp: 0 up to ``begin``, 1 from ``end`` on, and linear in between."""
    return min(1.0, max(0.0, (value - begin) / (end - begin)))


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
