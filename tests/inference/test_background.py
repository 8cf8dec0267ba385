import pytest
import torch

from tdafd_cli.inference.background import MARGIN, TOLERANCE, occupied_box, surrounded
from tdafd_cli.inference.prediction import predict_volume
from tdafd_cli.inference.settings import InferenceSettings

SETTINGS = InferenceSettings(
    device="cpu", precision="fp32", ensemble=1, consistency="none", fallback=False
)


def island(shape, first, last, value=0.3):
    """Noise between two corners, and one value around it."""
    volume = torch.full(shape, value)
    part = tuple(slice(a, b) for a, b in zip(first, last, strict=True))
    volume[part] = torch.rand(volume[part].shape, generator=torch.Generator().manual_seed(0))
    return volume


def test_box_holds_what_differs_with_a_margin_on_the_grid():
    low = island((130, 30, 90), (60, 10, 2), (64, 20, 30))
    box = occupied_box(low, 16)
    assert box == (slice(16, 96), slice(0, 30), slice(0, 64))
    assert all(part.start % 16 == 0 for part in box)
    assert box[0].start <= 60 - MARGIN
    assert box[0].stop >= 64 + MARGIN


def test_a_volume_without_such_a_background_is_looked_at_whole():
    low = torch.rand((40, 9, 90), generator=torch.Generator().manual_seed(0))
    box = occupied_box(low, 16)
    assert low[box].shape == low.shape
    assert surrounded(low, box, low) is low


def test_noise_is_no_background():
    low = island((130, 30, 90), (60, 10, 2), (64, 20, 30))
    low[0, 0, 89] += 2 * TOLERANCE
    assert occupied_box(low, 16)[2] == slice(0, 90)


def test_one_value_throughout_leaves_a_box_to_compute():
    assert occupied_box(torch.zeros(100, 100, 100), 16) == (slice(0, 48),) * 3


@pytest.mark.parametrize("value", [0.0, 0.3])
def test_the_result_is_that_of_the_whole_volume(tiny_network, value):
    low = island((16, 30, 96), (0, 4, 4), (9, 20, 12), value)
    high, execution = predict_volume(tiny_network, low, SETTINGS)
    assert execution.tile == (16, 32, 48)
    with torch.no_grad():
        whole = tiny_network(low[None, None])[0, 0]
    assert (high - whole).abs().max() < 1e-4
    assert (high[..., -40:] == value).all()
