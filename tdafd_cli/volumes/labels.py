"""Label maps: volumes whose numbers stand for classes, which must not be averaged."""

import numpy as np

MOST_LABELS = 1024
SAMPLE_EDGE = 48  # voxels along each axis of the middle, which is looked at first
FEW_VALUES = 8
REGION_NEIGHBOURS = 4  # of six that have a voxel's own value inside of a region
REGION_SHARE = 0.5
"""Of the voxels that are not background, how many lie inside of a region. Of label maps 0.7 and
more, of scans rounded to 16 grey levels 0.4 and less."""
JUMPS = 0.3
"""Of the steps between different neighbours, how many skip a value that occurs. In label maps most
do; a scan of few grey levels passes through them in order."""


def label_count(data: np.ndarray) -> int:
    """Number of labels in a volume (I, J, K), or 0 if it is not a label map.

    A label map has few values, whole numbers if more than two, in regions. Values of more than
    `FEW_VALUES` must also jump from region to region.
    """
    sample = _middle(data)
    if sample.size < data.size and np.ptp(sample) > 0 and label_count(sample) == 0:
        return 0  # which nearly all scans are, at little cost
    values, ranks = np.unique(data, return_inverse=True)
    if len(values) > MOST_LABELS:
        return 0
    if len(values) == 2:
        return 2
    if not np.array_equal(values, np.rint(values)):
        return 0
    ranks = ranks.reshape(data.shape).astype(np.int32)
    if _region_share(ranks) < REGION_SHARE:
        return 0
    if len(values) > FEW_VALUES and _jump_share(ranks) < JUMPS:
        return 0
    return len(values)


def _middle(data: np.ndarray) -> np.ndarray:
    starts = [max(0, (n - SAMPLE_EDGE) // 2) for n in data.shape]
    middle: np.ndarray = data[tuple(slice(start, start + SAMPLE_EDGE) for start in starts)]
    return middle


def _region_share(ranks: np.ndarray) -> float:
    """Share of the voxels off the commonest value whose neighbours mostly have their value."""
    equal = np.zeros(ranks.shape, np.int8)
    for axis in range(3):
        before = np.moveaxis(ranks, axis, 0)
        same = before[1:] == before[:-1]
        count = np.moveaxis(equal, axis, 0)
        count[1:] += same
        count[:-1] += same
    labelled = ranks != np.bincount(ranks.ravel()).argmax()
    return float((equal[labelled] >= REGION_NEIGHBOURS).mean())


def _jump_share(ranks: np.ndarray) -> float:
    """Share of the steps between different neighbours that skip a value."""
    steps = [np.abs(np.diff(ranks, axis=axis)) for axis in range(3)]
    different = sum(int(np.count_nonzero(step)) for step in steps)
    skipping = sum(int(np.count_nonzero(step > 1)) for step in steps)
    return skipping / max(different, 1)
