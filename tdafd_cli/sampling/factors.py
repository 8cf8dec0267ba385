"""Factors: how many new voxels there are per voxel along each axis of a volume."""

from collections.abc import Iterable, Sequence
from typing import TypeAlias

AXES = "IJK"

Factors: TypeAlias = tuple[int, int, int]
"""High voxels per low voxel along I, J and K."""


def factors_of(scale: int | Sequence[int]) -> Factors:
    """One factor for each axis; a single number stands for all three.

    >>> factors_of(2), factors_of((1, 1, 4))
    ((2, 2, 2), (1, 1, 4))
    """
    i, j, k = (scale,) * 3 if isinstance(scale, int) else scale
    if min(i, j, k) < 1:
        raise ValueError(f"factors must be at least 1, got {(i, j, k)}")
    return i, j, k


def factors_between(low: Iterable[int], high: Iterable[int]) -> Factors:
    """Factors that lead from one shape (I, J, K) to another, which must be multiples of it.

    >>> factors_between((9, 8, 7), (9, 8, 21))
    (1, 1, 3)
    """
    before, after = tuple(low), tuple(high)
    if any(m % n for n, m in zip(before, after, strict=True)):
        raise ValueError(f"sizes {after} are no multiples of {before}")
    return factors_of([m // n for n, m in zip(before, after, strict=True)])


def factors_text(factors: Sequence[int]) -> str:
    """Factors as users give them.

    >>> factors_text((2, 2, 2)), factors_text((1, 1, 4))
    ('2', '1x1x4')
    """
    return str(factors[0]) if len(set(factors)) == 1 else "x".join(map(str, factors))
