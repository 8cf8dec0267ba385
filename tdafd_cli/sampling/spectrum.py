"""Spectral fall-off: how a volume's power decreases towards Nyquist along each of its axes.

Each kind of degradation shapes the spectrum of the whole volume in its own way: k-space truncation
keeps the power of the scan up to Nyquist, blurs and thick slices reduce it, each along a curve of
its own. A network sees too few voxels at a time to estimate this, so these numbers are its input.
"""

import torch

BANDS = tuple(0.05 * band for band in range(5, 20, 2))
"""Centres of the bands whose power is measured, as fractions of Nyquist: 0.25, 0.35, ... 0.95."""
REFERENCE_BAND = 0.15
"""Centre of the band that the others are relative to: every degradation keeps its power."""
BAND_WIDTH = 0.1  # half the base of a band's triangular weights

FEWEST_VOXELS = 16
"""An axis with fewer has too coarse a spectrum to measure: its fall-off is set to the usual one."""

USUAL = (-0.4, -0.7, -1.0, -1.25, -1.5, -1.7, -1.9, -2.0)
"""Decadic logarithms of the bands' power in an average training volume. They are subtracted, so
that the fall-off of such a volume is zero."""
LOWEST_POWER = 1e-5  # of the reference band's
ROUNDING = 1e-10  # of all power: what rounding leaves of an axis along which nothing varies
SLAB_VOXELS = 2**22  # transformed at once, so that memory stays bounded

HELD = -0.7
"""Fall-off, in decades below the usual, at which the resolution of a volume is read off: a fifth of
the usual power. Applied to scans whose phase axis was interpolated from 1.4 to 1.6 voxels, it gives
1.3 to 1.5."""


def spectral_falloff(volume: torch.Tensor) -> torch.Tensor:
    """Power in each band along each axis, relative to the reference band.

    Parameters
    ----------
    volume : (B, 1, I, J, K) float tensor

    Returns
    -------
    (B, 3, bands) float32 tensor
        Decadic logarithms less the usual values; zeros for an axis of few voxels or no contrast.
    """
    falloff = [_along(volume[:, 0].movedim(1 + axis, 1)) for axis in range(3)]
    return torch.stack(falloff, dim=1)


def _along(volume: torch.Tensor) -> torch.Tensor:
    """Fall-off along the first axis of volumes (B, I, J, K): -> (B, bands)."""
    size = volume.shape[1]
    if size < FEWEST_VOXELS:
        return volume.new_zeros((len(volume), len(BANDS)), dtype=torch.float32)
    order = torch.arange(size, device=volume.device, dtype=torch.float32)
    waves = torch.cos(torch.pi / size * order[:, None] * (order + 0.5))  # DCT: no jump at the ends
    power = volume.new_zeros((len(volume), size), dtype=torch.float32)
    planes = max(1, SLAB_VOXELS // (size * volume.shape[3]))
    for slab in torch.split(volume.float(), planes, dim=2):
        power += torch.einsum("fi,bijk->bfjk", waves, slab).square().sum(dim=(2, 3))
    centres = torch.tensor([REFERENCE_BAND, *BANDS], device=volume.device)
    bands = (1 - (order / size - centres[:, None]).abs() / BAND_WIDTH).clamp(min=0)
    bands = bands / bands.sum(dim=1, keepdim=True)  # (1 + bands, I)
    reference, *others = (power @ bands.T).unbind(dim=1)
    relative = torch.stack(others, dim=1) / reference[:, None]
    logarithms = relative.clamp(LOWEST_POWER, 1).log10()
    varied = reference > ROUNDING * power.sum(dim=1)
    return torch.where(varied[:, None], logarithms - logarithms.new_tensor(USUAL), 0.0)


def resolution_along(bands: list[float]) -> float:
    """True resolution along an axis, in voxels: where the fall-off passes HELD."""
    before, level = BANDS[0], 0.0
    for frequency, band in zip(BANDS, bands, strict=True):
        if band < HELD:
            fraction = (level - HELD) / max(level - band, 1e-6) if level > HELD else 0.0
            return 1 / (before + fraction * (frequency - before))
        before, level = frequency, band
    return 1.0
