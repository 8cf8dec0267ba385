"""Trust: how far a network is to be believed on a volume as smooth as this one.

Weights learn from sharp volumes what detail a degradation took. In a volume that holds less than
its voxels could, as after smoothing or a scanner's own interpolation, they look for detail that
never was. The volume's spectrum tells: it falls deeper, or over a steeper cliff, than that of any
sharp volume under any degradation of the training mixture. The more so, the more of the result is
interpolation, which is all but perfect there.
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

HELD = -0.7
"""Fall-off, in decades below the usual, that ends what a volume is said to hold: a fifth of the
usual power. Put to scans whose phase axis was interpolated from 1.4 to 1.6 voxels, it gives 1.3 to
1.5."""


@dataclass(frozen=True)
class Trust:
    """How a volume's spectrum compares with those of training.

    Attributes
    ----------
    share : float
        Of the network in the result, from 0 to 1; the rest is interpolation.
    excess : tuple of float
        Decades by which the spectrum along I, J and K goes beyond that of any sharp volume.
    resolution : tuple of float
        What the volume holds along I, J and K, in its own voxels: 1 where it holds all it could,
        2 where it could have been stored in voxels twice as long.
    """

    share: float
    excess: tuple[float, ...]
    resolution: tuple[float, ...]


def trust_in(falloff: torch.Tensor, shape: tuple[int, ...], scale: int) -> Trust:
    """Trust in the weights of a scale, given the fall-off (3, bands) of a volume of a shape."""
    excess = [
        _excess(bands, scale) if length >= FEWEST_VOXELS else 0.0
        for bands, length in zip(falloff.tolist(), shape, strict=True)
    ]
    begin, end = EXCESS
    doubt = min(1.0, max(0.0, (max(excess) - begin) / (end - begin)))
    return Trust(
        share=1 - doubt,
        excess=tuple(round(value, 2) for value in excess),
        resolution=tuple(
            round(_resolution(bands), 2) if value > begin else 1.0
            for bands, value in zip(falloff.tolist(), excess, strict=True)
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


def _resolution(bands: list[float]) -> float:
    """Voxels per sample that a volume truly holds along an axis: where its fall-off passes HELD."""
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
    coarse = [
        (axis, size * factor, size)
        for axis, size, factor in zip("IJK", voxel_size, trust.resolution, strict=True)
        if factor > 1
    ]
    if not coarse:
        return []
    held = ", ".join(f"{held:.2g} mm along {axis}" for axis, held, _ in coarse)
    size = ", ".join(f"{size:.2g}" for *_, size in coarse)
    findings = [
        Finding(
            "interpolated",
            f"the scan holds about {held}, although its voxels are {size} mm: it was interpolated "
            "or smoothed before; upscale the volume it was made from, or expect little",
            {
                "axes": [axis for axis, *_ in coarse],
                "resolution_mm": [round(held, 3) for _, held, _ in coarse],
                "voxel_mm": [round(size, 3) for *_, size in coarse],
            },
        )
    ]
    if network_share < 1:
        findings.append(
            Finding(
                "fallback",
                f"{1 - network_share:.0%} of the result is sinc interpolation, as the network saw no "
                "scan so smooth in training; --no-fallback gives the network's word alone",
                {"interpolation_share": round(1 - network_share, 3)},
            )
        )
    return findings
