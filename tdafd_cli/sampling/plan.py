"""Plan: which axes a network makes finer, and what is left to resampling, for what was asked for.

A network multiplies voxels by whole numbers. Where the voxels asked for need another factor, the
network of the nearest one goes first, and band-limited resampling leads to the exact grid.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tdafd_cli.errors import VolumeError, size_text
from tdafd_cli.sampling.factors import AXES, Factors, factors_of

SCALES = (2, 3, 4)
SLICE_SCALES = (2, 3, 4, 5, 6)

FINE_ENOUGH = 1.05
"""An axis that is to be made finer by less stays as it is: resampling would cost more than it
gives."""
ALIKE = 1.3
"""Largest over smallest factor up to which all axes are made finer by one network for all three."""
EQUAL = 1.05
"""Longest over another voxel edge from which the longest is the slice axis without more ado."""
EXACT = 1e-3
"""Relative difference in voxel size that headers' rounding makes."""

Triple = tuple[float, float, float]


@dataclass(frozen=True)
class Request:
    """What a user wants of the result's grid.

    Attributes
    ----------
    factors : (i, j, k), optional
        New voxels per voxel along each axis.
    spacing_mm : (i, j, k), optional
        Edges of the voxels wanted, in place of factors.
    slice_axis : int, optional
        Axis that slices follow one another along; found if it matters and is not told.
    one_axis : bool
        Whether slices alone are to be made thinner, by the largest of the factors.
    thickness_mm : float, optional
        Of slices, if the volume's file does not say it.
    """

    factors: Factors | None = None
    spacing_mm: Triple | None = None
    slice_axis: int | None = None
    one_axis: bool = False
    thickness_mm: float | None = None

    @property
    def needs_the_scan(self) -> bool:
        """Whether the scan decides which axes are made finer, and by how much."""
        return self.spacing_mm is not None or self.one_axis

    def __post_init__(self) -> None:
        if self.factors is not None and self.spacing_mm is not None:
            raise ValueError("give factors or a spacing, not both")
        if self.spacing_mm is not None and not all(0 < size < math.inf for size in self.spacing_mm):
            raise ValueError(f"spacing must be above 0 mm, got {self.spacing_mm}")
        if self.thickness_mm is not None and not 0 < self.thickness_mm < math.inf:
            raise ValueError(f"slice thickness must be above 0 mm, got {self.thickness_mm}")


def request_for(
    scale: int | Sequence[int] | None = None,
    spacing: float | Sequence[float] | None = None,
    slice_axis: str | None = None,
    thickness_mm: float | None = None,
) -> Request:
    """Request in the words of the command line; ``ValueError`` if it can be none.

    >>> request_for(spacing=1, slice_axis="K").spacing_mm
    (1.0, 1.0, 1.0)
    """
    factors = None if scale is None else factors_of(scale)
    if factors is not None:
        named = min(factors) == 1 < max(factors)
        if sorted(factors)[:2] not in ([1, 1], [max(factors)] * 2) or (named and slice_axis):
            raise ValueError(f"factors {factors}: all alike, or of one axis that they name alone")
    spacing_mm: Triple | None = None
    if spacing is not None:
        sizes = [spacing] * 3 if isinstance(spacing, int | float) else list(spacing)
        spacing_mm = (float(sizes[0]), float(sizes[1]), float(sizes[2]))
    if slice_axis not in (None, "auto", *AXES):
        raise ValueError(f"slice_axis must be auto, I, J or K, got {slice_axis!r}")
    axis = None if slice_axis in (None, "auto") else AXES.index(str(slice_axis))
    return Request(factors, spacing_mm, axis, slice_axis is not None, thickness_mm)


@dataclass(frozen=True)
class Plan:
    """How a grid is reached.

    Attributes
    ----------
    factors : (i, j, k)
        Of the network, along the axes of the file: alike, or of one axis alone.
    shape : (I, J, K)
        Voxels of the result.
    steps : (i, j, k)
        Edges of the result's voxels in voxels of the network's; 1 where nothing is resampled.
    """

    factors: Factors
    shape: tuple[int, int, int]
    steps: Triple = (1.0, 1.0, 1.0)

    @property
    def slice_axis(self) -> int | None:
        """Axis that alone is made finer, if one is."""
        return self.factors.index(max(self.factors)) if min(self.factors) == 1 else None

    @property
    def resampling(self) -> Triple:
        """The steps, rounded for reports."""
        i, j, k = (round(step, 6) for step in self.steps)
        return i, j, k

    @property
    def exact(self) -> bool:
        """Whether the network's grid is the one asked for."""
        return self.steps == (1.0, 1.0, 1.0)


def plan_for(
    request: Request,
    *,
    shape: Sequence[int],
    voxel_size: Triple,
    weights: Factors | None = None,
    softest: Callable[[], int] = lambda: 2,
    name: str = "the scan",
) -> Plan:
    """Plan for a volume.

    Parameters
    ----------
    request : Request
    shape : (I, J, K)
    voxel_size : (i, j, k)
        In mm.
    weights : (i, j, k), optional
        Factors of the weights that are to be used, slices last; any if None.
    softest : callable
        Gives the axis along which the scan's spectrum falls the deepest; called only where voxel
        sizes do not tell which axis slices follow one another along.
    name : str
        Of the volume, for errors.

    Raises
    ------
    VolumeError
        If the voxels asked for are no finer than the scan's.
    """
    if request.spacing_mm is not None:
        return _plan_for_spacing(request, shape, voxel_size, weights, softest, name)
    factors = request.factors or weights
    assert factors is not None
    slices = min(factors) == 1
    told = request.factors is not None and slices  # along an axis that the user named
    if request.one_axis or (slices and not told):
        axis = request.slice_axis
        axis = slice_axis(voxel_size, softest) if axis is None else axis
        factors = along(axis, max(factors))
    return _exact(factors, shape)


def slice_axis(voxel_size: Sequence[float], softest: Callable[[], int]) -> int:
    """Axis of the longest voxel edge, or of the softest spectrum where edges are equal."""
    longest = max(voxel_size)
    candidates = [axis for axis, size in enumerate(voxel_size) if size * EQUAL > longest]
    return candidates[0] if len(candidates) == 1 else softest()


def along(axis: int, factor: int) -> Factors:
    """Factors that make one axis finer alone."""
    i, j, k = (factor if axis == each else 1 for each in range(3))
    return i, j, k


def _exact(factors: Factors, shape: Sequence[int]) -> Plan:
    i, j, k = (n * factor for n, factor in zip(shape, factors, strict=True))
    return Plan(factors, (i, j, k))


def _plan_for_spacing(
    request: Request,
    shape: Sequence[int],
    voxel_size: Triple,
    weights: Factors | None,
    softest: Callable[[], int],
    name: str,
) -> Plan:
    spacing = request.spacing_mm
    assert spacing is not None
    needed = [size / wanted for size, wanted in zip(voxel_size, spacing, strict=True)]
    if max(needed) <= FINE_ENOUGH:
        raise VolumeError(
            f"{name}: its voxels are {size_text(voxel_size, digits=3)} mm, no coarser than the "
            f"{size_text(spacing, digits=3)} mm asked for, so there is nothing to make finer; ask "
            "for smaller ones"
        )
    for_all = min(weights or (2,)) > 1 and request.slice_axis is None and not request.one_axis
    if for_all and min(needed) > FINE_ENOUGH and max(needed) <= ALIKE * min(needed):
        scale = _nearest(math.prod(needed) ** (1 / 3), SCALES if weights is None else weights[:1])
        factors: Factors = (scale, scale, scale)
    else:
        axis = request.slice_axis
        axis = slice_axis(needed, softest) if axis is None else axis
        if needed[axis] <= FINE_ENOUGH:
            raise VolumeError(
                f"{name}: its voxels are {voxel_size[axis]:.3g} mm along {AXES[axis]}, no coarser "
                f"than the {spacing[axis]:.3g} mm asked for; choose another slice axis"
            )
        trained = SLICE_SCALES if weights is None or weights[0] > 1 else weights[2:]
        factors = along(axis, _nearest(needed[axis], trained))
    sizes, steps = zip(
        *(
            _axis_plan(n, factor, need)
            for n, factor, need in zip(shape, factors, needed, strict=True)
        ),
        strict=True,
    )
    return Plan(factors, (sizes[0], sizes[1], sizes[2]), (steps[0], steps[1], steps[2]))


def _axis_plan(length: int, factor: int, needed: float) -> tuple[int, float]:
    """Voxels of the result along an axis, and their edge in voxels of the network's result."""
    if needed <= FINE_ENOUGH:  # which leaves factors of a network for all axes no place
        return length * factor, 1.0
    step = factor / needed
    if abs(step - 1) < EXACT:
        return length * factor, 1.0
    return max(1, round(length * needed)), step


def _nearest(factor: float, scales: Sequence[int]) -> int:
    """Scale that differs from a factor by the least ratio."""
    return min(scales, key=lambda scale: abs(math.log(scale / factor)))


def plan_notes(plan: Plan, voxel_size: Triple) -> tuple[str, ...]:
    """What was not left to a network alone, axis by axis, in words."""
    if plan.exact:
        return ()
    notes = []
    for axis, factor, step, size in zip(AXES, plan.factors, plan.steps, voxel_size, strict=True):
        if step == 1:
            continue
        made = size / factor
        way = "resampling" if factor == 1 else f"the network to {made:.3g} mm, then by resampling"
        notes.append(f"{axis}: from {size:.3g} mm by {way} to {made * step:.3g} mm")
    return tuple(notes)
