"""Plateaus: volumes of two levels, such as masks and probability maps that were resampled.

Where such a volume was cut in k-space it rings: beside borders and in corners it overshoots a level
by up to four tenths of their difference, so that its own range says little of what it shows.
"""

import numpy as np
from scipy.ndimage import binary_erosion

INSIDE = 2  # voxels from a border on, where such a volume shows its levels alone
FEWEST_INSIDE = 64
SPREADS = (0.26, 0.16)
"""Widest range of the middle nine tenths of the voxels inside, below and above, as a part of the
levels' difference. Of masks and probability maps cut in k-space they were 0.24 and 0.14 at most, of
skull-stripped heads, the likest of all scans, 0.22 and more above."""
OVERSHOOT = 0.5
"""Farthest that ringing goes beyond the upper level: 0.45 of the difference in those masks. What
goes farther is a value of its own, such as a lesion."""
BETWEEN = 0.5
"""Most voxels in the middle half between the levels, as a share of those nearer to the upper."""


def two_levels(data: np.ndarray) -> tuple[float, float] | None:
    """Lower and upper level of a volume (I, J, K) that has two, with borders between; else None."""
    middle = (float(data.min()) + float(data.max())) / 2
    above = data > middle
    insides = [data[binary_erosion(part, iterations=INSIDE)] for part in (~above, above)]
    if min(len(inside) for inside in insides) < FEWEST_INSIDE:
        return None
    lower, upper = (float(np.median(inside)) for inside in insides)
    difference = upper - lower
    if float(data.max()) > upper + OVERSHOOT * difference:
        return None
    for inside, spread in zip(insides, SPREADS, strict=True):
        if np.subtract(*np.percentile(inside, (95, 5))) > spread * difference:
            return None
    between = (data > lower + difference / 4) & (data < upper - difference / 4)
    if np.count_nonzero(between) > BETWEEN * np.count_nonzero(above):
        return None
    return lower, upper
