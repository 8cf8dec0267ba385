"""Draw what training makes of a volume: every degradation and contrast of the mixture.

    python studies/draw_mixture.py examples/head_2mm.nii.gz examples/mixture.png

Each panel is the middle coronal plane of the example: first the target, then what degradations
leave of it at half its resolution, last the target in other contrasts.
"""

from pathlib import Path

import numpy as np
import torch
import typer
from PIL import Image, ImageDraw, ImageFont

from tdafd_cli.formats.files import read_volume
from tdafd_cli.sampling.degradation import (
    BENCHMARK_DEGRADATIONS,
    Degradation,
    Profile,
    degrade,
    divisible,
)
from tdafd_cli.training.augmentation import bias_field, remapped
from tdafd_cli.volumes.intensity import intensity_range, normalise

SCALE = 2
PANEL = 208  # pixels along each side
COLUMNS = 4
HEADING = 22  # pixels


def panels(high: torch.Tensor) -> dict[str, torch.Tensor]:
    """Volumes to show, by what was done to them."""

    def low(*profiles: Profile, noise: float = 0.0) -> torch.Tensor:
        three = profiles * 3 if len(profiles) == 1 else profiles
        degradation = Degradation((three[0], three[1], three[2]), noise)
        return degrade(high, SCALE, degradation, torch.Generator().manual_seed(0))

    generator = np.random.default_rng(1)
    sharp, thick = Profile("kspace", 0.0), Profile("average", 1.4)
    bias = 1 + 0.3 * bias_field(high.shape, generator.uniform(-1, 1, size=(3, 3, 3)))
    return {
        "target": high,
        **{kind: degrade(high, SCALE, kind) for kind in BENCHMARK_DEGRADATIONS},
        "k-space, Tukey 0.6": low(Profile("kspace", 0.6)),
        "k-space, Hamming": low(Profile("hamming", 0.08)),
        "Gaussian, sigma 0.5": low(Profile("gaussian", 0.5)),
        "Gaussian, sigma 1.4": low(Profile("gaussian", 1.4)),
        "slices of 0.8 voxels": low(Profile("average", 0.8)),
        "slices of 1.4, up-down": low(sharp, sharp, thick),
        "each axis its own": low(Profile("gaussian", 1.4), sharp, Profile("hamming", 0.08)),
        "Rician noise, 1.5 %": low(sharp, noise=0.015),
        "contrast: gamma 0.6": high.clamp(min=0) ** 0.6,
        "contrast: gamma 1.6": high.clamp(min=0) ** 1.6,
        "contrast: remapped": remapped(high, np.array([0.9, 0.75, 0.5, 0.2])),
        "bias field, 30 %": high * bias,
    }


def main(volume: Path, picture: Path) -> None:
    """Draw the panels of a volume into a PNG file."""
    data = read_volume(volume).data
    high = divisible(torch.from_numpy(normalise(data, intensity_range(data))), SCALE)
    shown = panels(high)
    rows = -(-len(shown) // COLUMNS)
    page = Image.new("L", (COLUMNS * PANEL, rows * (PANEL + HEADING)))
    draw, font = ImageDraw.Draw(page), ImageFont.load_default(13)
    for number, (name, panel) in enumerate(shown.items()):
        plane = panel[:, panel.shape[1] // 2].T.flip(0).numpy()
        brightest = np.percentile(plane, 98)  # arteries may saturate
        plane = (255 * (plane / brightest).clip(0, 1)).astype(np.uint8)
        image = Image.fromarray(plane).resize((PANEL, PANEL), Image.Resampling.NEAREST)
        x, y = number % COLUMNS * PANEL, number // COLUMNS * (PANEL + HEADING)
        page.paste(image, (x, y + HEADING))
        draw.text((x + 4, y + 3), name, fill=255, font=font)
    page.save(picture, optimize=True)


if __name__ == "__main__":
    typer.run(main)
