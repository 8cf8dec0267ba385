"""Findings: what a user should know about a volume before trusting its upscaled version."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tdafd_cli.errors import size_text
from tdafd_cli.volumes.defects import Defects
from tdafd_cli.volumes.interleaving import interleaving
from tdafd_cli.volumes.noise import noise_level
from tdafd_cli.volumes.volume import Volume

THICK = 1.5
"""Longest over shortest voxel edge from which slices count as thick."""
GAP = 0.05
"""Difference of slice thickness and distance, as part of the distance, from which it is told."""
FEWEST_VOXELS = 16
APART_MM = 1.0
"""Distance between the places that sform and qform give a corner from which they disagree."""
ONE_VALUE = 0.98
"""Share of voxels of one value above which too few are left to estimate the range of the others.
Skull-stripped brains in a wide field of view stay below 0.95."""
AIR_HOUNSFIELD, AIR_SHARE = -500, 0.05
"""Intensities of CT lie from -1000 in air; MR images have none so low in a share of the field."""

NOISY = 0.075
"""Noise, as part of the intensity range, of which training saw none: 57 sharp scans of eleven
scanners read 0.006 to 0.061, and with noise of 10 % added 0.076 to 0.107."""


@dataclass(frozen=True)
class Finding:
    """One thing that was noticed.

    Attributes
    ----------
    code : str
        Short and stable, for scripts.
    sentence : str
        What was found, what it means and what to do, in one line.
    figures : dict
        The numbers behind it.
    """

    code: str
    sentence: str
    figures: dict[str, Any] = field(default_factory=dict)


def volume_findings(
    volume: Volume, defects: Defects, slice_axis: int | None = None
) -> list[Finding]:
    """Findings from the volume itself, the most important first.

    Parameters
    ----------
    volume : Volume
    defects : Defects
    slice_axis : int, optional
        Axis that alone is made finer, if one is.
    """
    return [
        *_defects(defects),
        *_computed_tomography(volume),
        *_thick_slices(volume, slice_axis),
        *_interleaved(volume, slice_axis),
        *_small_field(volume),
        *_orientation(volume),
        *_range(volume),
    ]


def noise_findings(normalised: np.ndarray) -> list[Finding]:
    """Finding that a volume, its tissue at about 0 to 1, is noisier than all training volumes."""
    level = noise_level(normalised)
    if level <= NOISY:
        return []
    return [
        Finding(
            "noise",
            f"noise of about {level:.0%} of the intensity range, more than in any training volume: "
            "expect no more than interpolation gives; denoise or average scans first",
            {"noise": round(level, 4), "limit": NOISY},
        )
    ]


def label_findings(count: int) -> tuple[Finding, ...]:
    """Finding that a volume was treated as a label map of ``count`` labels; none if that is 0."""
    if count == 0:
        return ()
    return (
        Finding(
            "labels",
            f"{count} values in regions, as in a mask or label map: voxels were repeated, so that "
            "no new value occurs; --labels no upscales it as a scan",
            {"values": count},
        ),
    )


def _defects(defects: Defects) -> Iterator[Finding]:
    voxels, slices = len(defects.voxels), len(defects.slices)
    if not voxels + slices:
        return
    found = [
        f"{count} {name}{'s' if count > 1 else ''}"
        for count, name in ((voxels, "stray voxel"), (slices, "dropped slice"))
        if count
    ]
    yield Finding(
        "defects",
        f"{' and '.join(found)} found: kept out of the network and interpolated, so that the "
        "neighbours are as if without; check the scan there",
        {
            "voxels": [[int(index) for index in voxel] for voxel in defects.voxels[:100]],
            "voxel_count": voxels,
            "slices": [{"axis": "IJK"[axis], "index": index} for axis, index in defects.slices],
        },
    )


def _computed_tomography(volume: Volume) -> Iterator[Finding]:
    air = float(np.mean(volume.data < AIR_HOUNSFIELD))
    if air < AIR_SHARE:
        return
    yield Finding(
        "ct",
        f"{air:.0%} of the voxels lie below {AIR_HOUNSFIELD}, as in CT: the weights saw MR images "
        "alone; compare the result with --preview before you use it",
        {"share_below": round(air, 4), "level": AIR_HOUNSFIELD},
    )


def slice_findings(
    voxel_size: tuple[float, ...], axis: int, thickness_mm: float
) -> Iterator[Finding]:
    """Finding that slices of a known thickness leave gaps between them, or overlap."""
    apart = voxel_size[axis]
    share = thickness_mm / apart
    if abs(share - 1) < GAP:
        return
    told = f"slices along {'IJK'[axis]} are {thickness_mm:.3g} mm thick and {apart:.3g} mm apart"
    meaning = (
        f"{1 - share:.0%} of the anatomy lies in gaps that nobody measured, and is filled in there"
        if share < 1
        else "they overlap, or were interpolated, and hold less detail than their number promises"
    )
    yield Finding(
        "slice-gap" if share < 1 else "slice-overlap",
        f"{told}: {meaning}; trust nothing smaller than a slice",
        {"axis": "IJK"[axis], "thickness_mm": round(thickness_mm, 4), "apart_mm": round(apart, 4)},
    )


def _thick_slices(volume: Volume, slice_axis: int | None) -> Iterator[Finding]:
    sizes = volume.voxel_size
    ratio = max(sizes) / min(sizes)
    if ratio <= THICK or slice_axis == int(np.argmax(sizes)):
        return
    figures = {"voxel_size": [round(size, 4) for size in sizes], "ratio": round(ratio, 2)}
    told = f"voxels are {size_text(sizes, digits=3)} mm"
    if slice_axis is not None:
        longest = "IJK"[int(np.argmax(sizes))]
        yield Finding(
            "slice-axis",
            f"{told}: {'IJK'[slice_axis]} was made finer alone, but they are longest along "
            f"{longest}; check --scale or --slice-axis",
            figures | {"axis": "IJK"[slice_axis], "longest": longest},
        )
        return
    yield Finding(
        "thick-slices",
        f"{told}: every axis is made finer alike, so the result's stay {ratio:.1f} times as long "
        f"as wide; for isotropic voxels use --spacing {min(sizes):.2g}",
        figures,
    )


def _interleaved(volume: Volume, slice_axis: int | None) -> Iterator[Finding]:
    sizes = volume.voxel_size
    if slice_axis is None and max(sizes) / min(sizes) <= THICK:
        return  # of a 3D scan no axis has slices of its own
    axis = int(np.argmax(sizes)) if slice_axis is None else slice_axis
    found = interleaving(volume.data, axis)
    if not found:
        return
    yield Finding(
        "interleaved",
        f"odd and even slices along {'IJK'[axis]} differ in brightness by "
        f"{abs(found.difference):.0%}: the scan was taken in two passes that do not match, and its "
        "stripes stay in the result; correct the slices' brightness first",
        {
            "axis": "IJK"[axis],
            "difference": round(found.difference, 4),
            "share": round(found.share, 3),
        },
    )


def _small_field(volume: Volume) -> Iterator[Finding]:
    small = [
        f"{length} along {axis}"
        for length, axis in zip(volume.shape, "IJK", strict=True)
        if length < FEWEST_VOXELS
    ]
    if small:
        yield Finding(
            "small-field",
            f"only {' and '.join(small)} voxels: too few to tell the scan's sharpness there, and "
            "all lie near an edge; upscale before cropping if you can",
            {"shape": list(volume.shape)},
        )


def _orientation(volume: Volume) -> Iterator[Finding]:
    codes = int(volume.header["qform_code"]), int(volume.header["sform_code"])
    if codes == (0, 0):
        yield Finding(
            "no-orientation",
            "the header gives no orientation (qform and sform codes are 0): left and right are "
            "unknown, in the result too; convert the scan anew, or set them if you know them",
        )
        return
    if 0 in codes:
        return
    apart = _forms_apart(volume)
    if apart > APART_MM:
        yield Finding(
            "forms-disagree",
            f"sform and qform place the volume up to {apart:.0f} mm apart: both are kept, and "
            "programs differ in which they read; delete the wrong one",
            {"apart_mm": round(apart, 2), "qform_code": codes[0], "sform_code": codes[1]},
        )


def _forms_apart(volume: Volume) -> float:
    """Greatest distance in mm between a corner's places by sform and by qform."""
    try:
        qform, sform = volume.header.get_qform(), volume.header.get_sform()
    except ValueError:  # a quaternion longer than 1 is no rotation
        return 0.0
    corners = np.array(np.meshgrid(*[(0, n - 1) for n in volume.shape])).reshape(3, -1)
    moved = (qform - sform) @ np.vstack([corners, np.ones(corners.shape[1])])
    return float(np.linalg.norm(moved[:3], axis=0).max())


def _range(volume: Volume) -> Iterator[Finding]:
    commonest = float(np.median(volume.data))
    share = float(np.mean(volume.data == commonest))
    if share >= ONE_VALUE:
        yield Finding(
            "one-value",
            f"{share:.1%} of the voxels are {commonest:g}: the range of the others is taken from "
            "very few; crop the field of view closer to the object",
            {"share": round(share, 4), "value": commonest},
        )
