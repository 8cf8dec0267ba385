import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

from tdafd_cli.networks.limits import (
    FALLOFF_LIMITS,
    INTENSITY_LIMITS,
    NEIGHBOURHOOD,
    OVERSHOOT,
    bounded,
    neighbourhood_range,
)
from tdafd_cli.networks.tdafd import TDAFD
from tdafd_cli.sampling.spectrum import BANDS
from tdafd_cli.weights.registry import find_entry
from tdafd_cli.weights.store import bundled_names, load_weights


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("shape", [(7, 9, 3), (1, 1, 1), (12, 5, 6)])
def test_neighbourhood_range_is_that_of_a_cube_of_voxels(shape):
    low = random(2, 1, *shape)
    lowest, highest = neighbourhood_range(low)
    for volume, least, greatest in zip(low[:, 0], lowest[:, 0], highest[:, 0], strict=True):
        options = {"size": NEIGHBOURHOOD, "mode": "nearest"}
        assert np.array_equal(ndimage.minimum_filter(volume.numpy(), **options), least.numpy())
        assert np.array_equal(ndimage.maximum_filter(volume.numpy(), **options), greatest.numpy())


def test_an_estimate_inside_the_limits_stays_to_the_bit():
    low = random(1, 1, 8, 6, 7)
    high = low.repeat_interleave(2, 2).repeat_interleave(2, 3).repeat_interleave(2, 4)
    assert torch.equal(bounded(high.clone(), low, 2), high)


@pytest.mark.parametrize("scale", [2, 3])
def test_an_estimate_outside_is_brought_back_to_its_neighbourhoods_range(scale):
    low = random(1, 1, 8, 6, 7)
    wild = 100 * torch.randn((1, 1, 8 * scale, 6 * scale, 7 * scale))
    kept = bounded(wild, low, scale)
    lowest, highest = neighbourhood_range(low)
    margin = OVERSHOOT * (highest - lowest)
    for axis in (2, 3, 4):
        lowest, highest, margin = (
            volume.repeat_interleave(scale, axis) for volume in (lowest, highest, margin)
        )
    assert (kept >= lowest - margin).all()
    assert (kept <= highest + margin).all()


@given(falloff=st.floats(-9, 9))
def test_a_fall_off_beyond_the_limits_counts_as_the_limit(falloff):
    torch.manual_seed(0)
    network = TDAFD().eval()
    torch.nn.init.normal_(network.tail.weight, std=0.02)
    torch.nn.init.normal_(network.condition[-1].weight, std=0.1)
    network.falloff_limits.copy_(torch.tensor([[-0.5], [0.5]]).expand(2, len(BANDS)))
    low = random(1, 1, 16, 16, 16)
    with torch.no_grad():
        given = network(low, torch.full((1, 3, len(BANDS)), falloff))
        kept = network(low, torch.full((1, 3, len(BANDS)), min(0.5, max(-0.5, falloff))))
    assert torch.equal(given, kept)


def test_training_widens_the_limits_to_what_it_shows():
    network = TDAFD()
    network.falloff_limits.zero_()
    falloff = torch.zeros(2, 3, len(BANDS))
    falloff[0, 1, 2], falloff[1, 2, 5] = -1.5, 0.75
    network.observe(falloff)
    network.observe(falloff / 2)
    lowest, highest = network.falloff_limits
    assert lowest.tolist() == [0, 0, -1.5, 0, 0, 0, 0, 0]
    assert highest.tolist() == [0, 0, 0, 0, 0, 0.75, 0, 0]


def test_training_sees_how_far_an_estimate_went(tiny_network):
    torch.nn.init.constant_(tiny_network.tail.bias, 50.0)
    low = random(1, 1, 16, 16, 16)
    assert tiny_network.eval()(low).max() < 5
    assert tiny_network.train()(low).max() > 40


def test_a_voxel_beyond_the_limits_changes_no_more_than_one_at_them(tiny_network):
    low = random(1, 1, 16, 16, 16)
    at_limit, beyond = low.clone(), low.clone()
    at_limit[..., 8, 8, 8], beyond[..., 8, 8, 8] = INTENSITY_LIMITS[1], 1e6
    falloff = torch.zeros(1, 3, len(BANDS))
    with torch.no_grad():
        assert torch.equal(
            tiny_network.trunk(at_limit, falloff), tiny_network.trunk(beyond, falloff)
        )


@pytest.mark.parametrize("name", [each for each in bundled_names() if find_entry(each).axes == 3])
def test_weights_of_older_files_get_the_limits_of_their_scale(name):
    weights = load_weights(name)
    limits = weights.network().falloff_limits
    assert limits.shape == (2, len(BANDS))
    assert (limits[0] < 0).all()
    assert (limits[1] > 0).all()
    assert limits.tolist() == pytest.approx(np.array(FALLOFF_LIMITS[weights.scale])) or limits[
        0
    ].min() < min(FALLOFF_LIMITS[weights.scale][0])
