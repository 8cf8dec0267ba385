import numpy as np
import pytest

from tdafd_cli.volumes.foreground import foreground_box, foreground_mask


def head(shape=(24, 22, 20), seed=0):
    """A bright shell around darker tissue, in an empty field."""
    rng = np.random.default_rng(seed)
    axes = np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij")
    radius = np.sqrt(sum(x**2 for x in axes))
    volume = np.where(radius < 0.7, np.where(radius < 0.25, 1.0, 60.0), 0.0)
    return (volume * rng.uniform(0.8, 1.2, shape)).astype(np.float32)


def test_foreground_fills_dark_tissue_and_leaves_air():
    reference = head()
    mask = foreground_mask(reference)
    assert mask[12, 11, 10]  # as dark as fluid, inside
    assert not mask[0, 0, 0]
    assert mask.mean() == pytest.approx((reference > 0).mean(), abs=0.02)


def test_box_holds_the_foreground_with_a_margin_that_ends_with_the_volume():
    mask = np.zeros((40, 30, 20), bool)
    mask[10:30, 0:10, 16:20] = True
    box, middle = foreground_box(mask, 0.1)
    assert box == (slice(8, 32), slice(0, 11), slice(15, 20))
    assert middle == (19, 4, 17)
    assert mask[box].sum() == mask.sum()
