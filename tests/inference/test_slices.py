import numpy as np
import pytest
import torch

from tdafd_cli.inference.prediction import predict_volume
from tdafd_cli.inference.settings import InferenceSettings
from tdafd_cli.inference.slices import predict_along, resampled, softest_axis
from tdafd_cli.networks.tdafd import TDAFD, TDAFDConfig
from tdafd_cli.sampling.degradation import degrade
from tdafd_cli.sampling.plan import Plan

SETTINGS = InferenceSettings(device="cpu", precision="fp32", ensemble=1)
TINY = TDAFDConfig(
    scale=3, channels=4, modules=2, attention_channels=2, token_channels=4, heads=1, axes=1
)


@pytest.fixture(scope="module")
def network() -> TDAFD:
    torch.manual_seed(0)
    network = TDAFD(TINY)
    torch.nn.init.normal_(network.tail.weight, std=0.05)
    return network.eval()


def scan(*shape: int) -> torch.Tensor:
    noise = torch.rand((1, *shape), generator=torch.Generator().manual_seed(0))
    return torch.nn.functional.avg_pool3d(noise, 3, stride=1, padding=1)[0]


@pytest.mark.parametrize("axis", range(3))
def test_any_axis_is_made_finer_as_the_last_is(network, axis):
    low = scan(20, 18, 17)
    expected, told = predict_volume(network, low, SETTINGS)
    high, execution = predict_along(network, low.movedim(2, axis), axis, SETTINGS)
    torch.testing.assert_close(high, expected.movedim(2, axis))
    order = [0, 1]
    order.insert(axis, 2)
    assert execution.tile == tuple(told.tile[each] for each in order)
    assert execution.trust is not None
    assert told.trust is not None
    assert execution.trust.excess == tuple(told.trust.excess[each] for each in order)


def test_slices_that_are_too_soft_are_interpolated_and_planes_left_alone(network):
    low = scan(24, 20, 24)
    wave = torch.fft.rfft(low, dim=2)
    wave[..., 6:] = 0
    soft = torch.fft.irfft(wave, n=24, dim=2)
    high, execution = predict_volume(network, soft, SETTINGS)
    assert execution.network_share == 0
    assert high.shape == (24, 20, 72)
    planes = torch.fft.irfft(torch.fft.rfft(low, dim=0)[:6], n=24, dim=0)  # soft in the plane
    _, execution = predict_volume(network, planes, SETTINGS)
    assert execution.network_share == 1


@pytest.mark.parametrize("kind", ["average", "gaussian", "kspace"])
def test_slices_are_made_consistent_along_their_axis_alone(network, kind):
    low = scan(20, 18, 17)
    settings = InferenceSettings(
        device="cpu", precision="fp32", ensemble=1, consistency=kind, fallback=False
    )
    named = {"average": "thick-boxcar", "gaussian": "thick-gaussian", "kspace": "kspace"}[kind]
    errors = []
    for each in (SETTINGS, settings):
        high, execution = predict_volume(network, low, each)
        errors.append(float((degrade(high, (1, 1, 3), named) - low).square().mean()))
    assert execution.consistency == kind
    assert errors[1] < 0.1 * errors[0]


def test_the_softest_axis_is_found():
    low = scan(24, 24, 24)
    soft = torch.fft.irfft(torch.fft.rfft(low, dim=1)[:, :5], n=24, dim=1)
    assert softest_axis(soft) == 1


def test_resampling_leads_to_the_shape_asked_for_and_no_further_values():
    high = scan(12, 10, 30)
    assert resampled(high, Plan((1, 1, 3), (12, 10, 30))) is high
    made = resampled(high, Plan((1, 1, 3), (12, 10, 33), (1.0, 1.0, 30 / 33)))
    assert made.shape == (12, 10, 33)
    assert high.min() <= made.min()
    assert made.max() <= high.max()
    middle = np.interp(np.arange(33) * 30 / 33 + 0.5 * 30 / 33 - 0.5, np.arange(30), high[6, 5])
    assert np.abs(made[6, 5].numpy() - middle)[3:-3].max() < 0.03


@pytest.mark.parametrize("axis", range(3))
def test_flat_background_around_slices_is_left_out_without_a_trace(network, axis):
    low = torch.zeros(150, 20, 40)
    low[60:90, 2:18, 5:35] = 0.3 + 0.5 * scan(30, 16, 30)
    alone, _ = predict_volume(network, low, SETTINGS)
    assert alone.shape == (150, 20, 120)
    high, _ = predict_along(network, low.movedim(2, axis), axis, SETTINGS)
    torch.testing.assert_close(high, alone.movedim(2, axis))
    inside = alone[62:88, 4:16, 18:102]
    assert inside.std() > 0.01
    assert alone[:8].abs().max() < 0.05
