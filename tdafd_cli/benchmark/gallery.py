"""Slices of a benchmark's volumes, of what methods made of them, and of the errors."""

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from nibabel.orientations import apply_orientation, io_orientation
from PIL import Image

from tdafd_cli.evaluation.case import Case
from tdafd_cli.volumes.foreground import foreground_box
from tdafd_cli.volumes.intensity import IntensityRange, intensity_range, normalise

PLANES = {"axial": 2, "coronal": 1, "sagittal": 0}
"""Anatomical planes, and the RAS+ axis across each."""

MOST_VOLUMES = 3  # shown of each degradation: pages beyond some megabytes are slow
ERROR_SHARE = 0.1  # of the intensity range: an error that gets the full colour
MARGIN = 0.04  # of the foreground's extent, kept around it
REFERENCE, LOW = "reference", "low"


@dataclass(frozen=True)
class Panel:
    """One slice of one method's result.

    Attributes
    ----------
    volume, degradation, plane, method : str
        The method may be "reference" or "low".
    image, error : str
        PNG as data URI; the error of reference and low is empty.
    aspect : float
        Width over height, in millimetres.
    """

    volume: str
    degradation: str
    plane: str
    method: str
    image: str
    error: str
    aspect: float


def new_panels(
    case: Case, method: str, estimate: np.ndarray, shown: Sequence[Panel]
) -> list[Panel]:
    """Slices of an estimate, with reference and low before a case's first.

    Parameters
    ----------
    case : Case
    method : str
    estimate : (sI, sJ, sK) array
    shown : sequence of Panel
        Those there are. Of each degradation only the first `MOST_VOLUMES` volumes get any.
    """
    name, kind = case.reference.name, case.degradation
    volumes = {panel.volume for panel in shown if panel.degradation == kind}
    if name in volumes:
        return _panels(case, method, estimate)
    if len(volumes) >= MOST_VOLUMES:
        return []
    low = case.low_intensities().numpy()
    for axis in range(3):
        low = low.repeat(case.factors[axis], axis)
    return [
        *_panels(case, REFERENCE, case.reference.high.numpy()),
        *_panels(case, LOW, low),
        *_panels(case, method, estimate),
    ]


def _panels(case: Case, method: str, estimate: np.ndarray) -> list[Panel]:
    affine = case.reference.volume.affine
    turn = io_orientation(affine)
    reference = case.reference.high.numpy()
    window = intensity_range(reference)
    box, middle = foreground_box(apply_orientation(case.reference.mask, turn), MARGIN)
    sizes = np.array(case.reference.volume.voxel_size)[np.argsort(turn[:, 0])]
    panels = []
    for plane, across in PLANES.items():
        index = tuple(middle[axis] if axis == across else box[axis] for axis in range(3))
        seen = apply_orientation(estimate, turn)[index]
        true = apply_orientation(reference, turn)[index]
        width, height = np.delete(sizes, across) * seen.shape
        plain = method in (REFERENCE, LOW)
        panels.append(
            Panel(
                volume=case.reference.name,
                degradation=case.degradation,
                plane=plane,
                method=method,
                image=_png(_grey(seen, window)),
                error="" if plain else _png(_coloured((seen - true) / window.width)),
                aspect=round(float(width / height), 4),
            )
        )
    return panels


def _grey(plane: np.ndarray, window: IntensityRange) -> np.ndarray:
    shade = np.clip(normalise(plane, window), 0, 1)
    return np.asarray(np.rint(255 * shade), np.uint8)


def _coloured(error: np.ndarray) -> np.ndarray:
    """Black where there is none, red where too bright, blue where too dark; white beyond."""
    share = np.clip(error / ERROR_SHARE, -1, 1)
    size = np.abs(share)[..., None]
    ends = np.where(share[..., None] > 0, [255, 90, 40], [50, 130, 255])
    glow = np.clip(2 * size - 1, 0, 1)
    return np.asarray(np.rint(np.clip(2 * size, 0, 1) * (ends + glow * (255 - ends))), np.uint8)


def _png(plane: np.ndarray) -> str:
    """Picture with the last indices on top and on the left, as radiologists hang RAS+ volumes."""
    turned = np.ascontiguousarray(np.swapaxes(plane, 0, 1)[::-1, ::-1])
    file = io.BytesIO()
    Image.fromarray(turned).save(file, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()
