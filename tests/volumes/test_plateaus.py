import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from tdafd_cli.sampling.degradation import degrade
from tdafd_cli.volumes.plateaus import two_levels


def ball(edge=64, radius=0.6):
    grid = np.linspace(-1, 1, edge)
    i, j, k = np.meshgrid(grid, 0.9 * grid, 1.1 * grid, indexing="ij")
    return (np.sqrt(i**2 + j**2 + k**2) < radius).astype(np.float32)


@pytest.mark.parametrize("kind", ["kspace", "gaussian", "average"])
def test_degraded_masks_show_their_levels(kind):
    low = degrade(torch.from_numpy(ball() * 4 + 1), 2, kind).numpy()
    assert two_levels(low) == pytest.approx((1, 5), abs=0.1)


def test_probability_maps_show_theirs():
    assert two_levels(gaussian_filter(ball(), 1)) == pytest.approx((0, 1), abs=0.02)


def test_what_has_more_levels_or_none_has_not_two():
    rng = np.random.default_rng(0)
    three = ball() + ball(radius=0.35)
    assert two_levels(three) is None
    assert two_levels(gaussian_filter(rng.random((40, 40, 40)), 2)) is None
    assert two_levels(ball() * (1 + 0.2 * rng.standard_normal((64, 64, 64)))) is None
    assert two_levels(np.ones((20, 20, 20))) is None
    assert two_levels(ball(radius=0.05)) is None  # too thin to have an inside


def test_a_lesion_in_an_even_brain_is_a_value_of_its_own():
    brain = ball(radius=0.8)
    assert two_levels(brain) == pytest.approx((0, 1))
    brain[30:32, 30:32, 30:32] = 1.8
    assert two_levels(brain) is None
