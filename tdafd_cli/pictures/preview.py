"""Picture of what upscaling did: input, cubic B-spline and result on three planes."""

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from nibabel.orientations import apply_orientation, io_orientation
from PIL import Image, ImageDraw, ImageFont

from tdafd_cli.errors import OutputError, size_text
from tdafd_cli.output import check_writable, replacing
from tdafd_cli.sampling.matrices import apply_matrices, bspline_sampling_matrix
from tdafd_cli.volumes.foreground import foreground_box, foreground_mask
from tdafd_cli.volumes.intensity import intensity_range, normalise
from tdafd_cli.volumes.volume import Volume

SUFFIX = ".png"

ACROSS = (2, 1, 0)
"""RAS+ axis across each row of panels: axial, coronal, sagittal."""

SIDES = {0: ("A", "P"), 1: ("R", "L"), 2: ("R", "L")}
"""What lies at the left and the right edge of a panel, by the axis across it."""

MARGIN = 0.05  # of the foreground's extent, kept around it
COLUMN_PIXELS = (400, 640)  # least and greatest width of a column
GAP_PIXELS = 8
HEADING_PIXELS = 44
FONT_PIXELS = 18
BRIGHT, PALE, BLACK = (240, 240, 240), (150, 150, 150), (0, 0, 0)


def check_preview(path: Path, overwrite: bool = False) -> None:
    """Raise `OutputError` if `write_preview` would refuse ``path``: ask before any computing."""
    if path.suffix.lower() != SUFFIX:
        raise OutputError(f"{path}: previews are PNG pictures; end its name in {SUFFIX}")
    check_writable(path, overwrite)


def write_preview(
    path: Path, low: Volume, high: Volume, *, name: str, overwrite: bool = False
) -> None:
    """Draw a preview into a PNG file, which appears whole or not at all.

    Parameters are those of `draw_preview`.

    Raises
    ------
    OutputError
        The target is refused by `check_preview`, or writing fails.
    """
    check_preview(path, overwrite)
    picture = draw_preview(low, high, name=name)
    with replacing(path) as file:
        picture.save(file, "PNG")


def draw_preview(low: Volume, high: Volume, *, name: str) -> Image.Image:
    """Draw input, B-spline and result side by side; axial, coronal and sagittal from the top.

    The planes cross in the middle of the foreground and are cropped to it. All panels share one
    grey window and stand as radiologists hang them: anterior or superior up, the patient's right
    on the left, anterior on the left of sagittal planes. Lengths are true in all directions.

    Parameters
    ----------
    low, high : Volume
        Of the same field of view, to half a voxel.
    name : str
        What made ``high``, for the heading.
    """
    fields = [np.multiply(volume.shape, volume.voxel_size) for volume in (low, high)]
    if np.any(np.abs(fields[1] - fields[0]) > high.voxel_size):
        raise ValueError(f"fields of view differ: {fields[0]} mm and {fields[1]} mm")
    turn, limits = io_orientation(low.affine), intensity_range(low.data)
    coarse = normalise(apply_orientation(low.data, turn), limits)
    fine = apply_orientation(high.data, turn)
    box, centre = foreground_box(foreground_mask(coarse), MARGIN)
    voxel_size = np.array(low.voxel_size)[np.argsort(turn[:, 0])]
    finer_size = np.array(high.voxel_size)[np.argsort(turn[:, 0])]
    grids = [
        _Grid(before, after, step)
        for before, after, step in zip(
            coarse.shape, fine.shape, finer_size / voxel_size, strict=True
        )
    ]
    extent_mm = voxel_size * [side.stop - side.start for side in box]
    pixels = np.rint(extent_mm * _pixels_per_mm(extent_mm, finer_size))
    rows = []
    for across in ACROSS:
        index = [centre[axis] if axis == across else box[axis] for axis in range(3)]
        finer = [grid.finer(part) for grid, part in zip(grids, index, strict=True)]
        width, height = np.delete(np.maximum(1, pixels), across).astype(int).tolist()
        rows.append(
            [
                _panel(coarse[tuple(index)], (width, height), smooth=False),
                _panel(_bspline(coarse, grids, finer, across), (width, height), smooth=True),
                _panel(normalise(fine[tuple(finer)], limits), (width, height), smooth=True),
            ]
        )
    names = ("input", "cubic B-spline", name)
    sizes = (low.voxel_size, high.voxel_size, high.voxel_size)
    return _page(rows, list(zip(names, sizes, strict=True)))


@dataclass(frozen=True)
class _Grid:
    """An axis before and after: two grids with one middle, the finer of ``step`` old voxels."""

    before: int
    after: int
    step: float

    def finer(self, part: int | slice) -> int | slice:
        """Same part of the axis on the finer grid; of one voxel, the middle."""
        if isinstance(part, int):
            return min(math.floor(self._face(part + 0.5) + 1e-6), self.after - 1)
        start, stop = (round(self._face(face)) for face in (part.start, part.stop))
        return slice(max(0, start), min(stop, self.after))

    def positions(self) -> np.ndarray:
        """Indices on the old grid of the finer grid's voxels, up to its outer faces."""
        middles = (np.arange(self.after) - (self.after - 1) / 2) * self.step
        inside = middles + (self.before - 1) / 2
        return inside.clip(-0.5, self.before - 0.5)

    def _face(self, face: float) -> float:
        """Place on the finer grid of a place on the old one, both counted from the first face."""
        return (face - self.before / 2) / self.step + self.after / 2


def _bspline(
    data: np.ndarray, grids: list[_Grid], finer: list[int | slice], across: int
) -> np.ndarray:
    """Cubic B-spline of a volume, on one plane of the finer grid only."""
    matrices = [
        np.atleast_2d(bspline_sampling_matrix(grid.positions(), grid.before)[rows])
        for grid, rows in zip(grids, finer, strict=True)
    ]
    plane = apply_matrices(torch.from_numpy(np.ascontiguousarray(data)), matrices)
    return plane.squeeze(across).numpy()


def _pixels_per_mm(extent_mm: np.ndarray, finest_mm: np.ndarray) -> float:
    """Show the finest voxels 2 pixels wide, within what a column may be."""
    narrowest, widest = np.array(COLUMN_PIXELS) / max(extent_mm)
    return float(np.clip(2 / min(finest_mm), narrowest, widest))


def _panel(plane: np.ndarray, size: tuple[int, int], *, smooth: bool) -> Image.Image:
    """Grey picture of a plane, its last indices on top and on the left, as RAS+ has it."""
    grey = np.rint(255 * np.clip(plane.T[::-1, ::-1], 0, 1)).astype(np.uint8)
    method = Image.Resampling.BICUBIC if smooth else Image.Resampling.NEAREST
    return Image.fromarray(grey).resize(size, method)


def _page(
    rows: list[list[Image.Image]], headings: list[tuple[str, tuple[float, float, float]]]
) -> Image.Image:
    width = max(row[0].width for row in rows) + GAP_PIXELS
    height = sum(row[0].height + GAP_PIXELS for row in rows)
    page = Image.new("RGB", (len(headings) * width + GAP_PIXELS, HEADING_PIXELS + height), BLACK)
    draw, font = ImageDraw.Draw(page), ImageFont.load_default(FONT_PIXELS)
    for column, (name, voxel_size) in enumerate(headings):
        left = GAP_PIXELS + column * width
        size = size_text(voxel_size, digits=3)
        draw.text((left, HEADING_PIXELS / 2), name, BRIGHT, font, "lm")
        right = left + width - 2 * GAP_PIXELS
        draw.text((right, HEADING_PIXELS / 2), f"{size} mm", PALE, font, "rm")
    top = HEADING_PIXELS
    for across, row in zip(ACROSS, rows, strict=True):
        for column, panel in enumerate(row):
            left = GAP_PIXELS + column * width + (width - GAP_PIXELS - panel.width) // 2
            page.paste(panel, (left, top))
            middle = top + panel.height / 2
            edges = (left + GAP_PIXELS, left + panel.width - GAP_PIXELS)
            for edge, anchor, side in zip(edges, ("lm", "rm"), SIDES[across], strict=True):
                draw.text(
                    (edge, middle), side, BRIGHT, font, anchor, stroke_width=2, stroke_fill=BLACK
                )
        top += row[0].height + GAP_PIXELS
    return page
