from dataclasses import replace

import pytest
import torch

from tdafd_cli.networks.tdafd import RVT, TDAFD, TDAFDConfig, VolumetricAttention
from tdafd_cli.networks.upsampling import image_skip, pixel_shuffle
from tdafd_cli.sampling.interpolation import interpolate
from tdafd_cli.sampling.spectrum import spectral_falloff

TINY = TDAFDConfig(channels=8, modules=2, attention_channels=4, token_channels=8)


def tiny(scale=2, seed=0, **changes):
    """A small network whose tail is not zero, so that every part shows in the output."""
    torch.manual_seed(seed)
    network = TDAFD(replace(TINY, scale=scale, **changes))
    torch.nn.init.normal_(network.tail.weight, std=0.1)
    torch.nn.init.normal_(network.condition[-1].weight, std=0.1)
    return network.eval()


def rand(*shape, seed=0):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize("shape", [(1, 1, 1), (5, 1, 3), (16, 16, 16), (17, 9, 20)])
def test_any_size_gives_scale_times_that_size(scale, shape):
    out = tiny(scale)(rand(2, 1, *shape))
    assert out.shape == (2, 1, *(scale * size for size in shape))
    assert torch.isfinite(out).all()


@pytest.mark.parametrize("window", [2, 4])
def test_a_small_grid_takes_small_volumes(window):
    network = tiny(window=window, recursions=1)
    for size in (1, 8, 9):
        assert network(rand(1, 1, size, size, size)).shape[2:] == (2 * size,) * 3


def test_a_grid_that_the_scales_do_not_divide_is_refused():
    with pytest.raises(ValueError, match="grid of 6"):
        TDAFDConfig(window=3, recursions=1)


def test_size_told_in_the_readme():
    assert sum(p.numel() for p in TDAFD().parameters()) == 397_480


def test_an_untrained_network_is_the_windowed_sinc():
    torch.manual_seed(0)
    low = torch.nn.functional.avg_pool3d(rand(1, 1, 24, 24, 24), 3, stride=1, padding=1)
    out = TDAFD(TINY)(low)[0, 0].detach()
    sinc = interpolate(low[0, 0], 2, "sinc")
    inner = (slice(12, -12),) * 3
    assert float((out - sinc)[inner].abs().mean()) < 0.01


def test_every_parameter_gets_a_gradient():
    network = tiny()
    (network(rand(1, 1, 16, 16, 16)) - rand(1, 1, 32, 32, 32, seed=1)).abs().mean().backward()
    without = [n for n, p in network.named_parameters() if p.grad is None or not p.grad.any()]
    assert without == []


def test_shifting_by_the_grid_shifts_the_output():
    network = tiny()
    low = rand(1, 1, 96, 16, 16)
    grid = network.grid
    falloff = spectral_falloff(low)
    whole, shifted = network(low, falloff), network(low[:, :, grid:], falloff)
    inner = slice(40, 64)  # beyond the reach of the cut face
    torch.testing.assert_close(
        shifted[:, :, 2 * inner.start : 2 * inner.stop],
        whole[:, :, 2 * (inner.start + grid) : 2 * (inner.stop + grid)],
        atol=1e-5,
        rtol=1e-4,
    )


def test_the_fall_off_is_taken_from_the_input_unless_given():
    network = tiny()
    low = rand(2, 1, 32, 20, 16)
    torch.testing.assert_close(network(low), network(low, spectral_falloff(low)), atol=0, rtol=0)
    assert not torch.equal(network(low), network(low, spectral_falloff(low) - 1))


def reference_attention(attention, tokens, dilation):
    """Attention of one token at a time, over the tokens of its own window."""
    heads, channels = attention.heads, tokens.shape[-1]
    query, key, value = attention.qkv(tokens).chunk(3, dim=-1)
    block = attention.window * dilation
    out = torch.zeros_like(tokens)
    for index in torch.cartesian_prod(*(torch.arange(n) for n in tokens.shape[1:4])).tolist():
        members = [
            range(i // block * block + i % dilation, (i // block + 1) * block, dilation)
            for i in index
        ]
        picked = torch.cartesian_prod(*(torch.tensor(list(m)) for m in members)).T.tolist()
        q = query[:, index[0], index[1], index[2]].view(-1, heads, 1, channels // heads)
        k, v = (
            part[:, picked[0], picked[1], picked[2]]
            .view(len(tokens), -1, heads, channels // heads)
            .transpose(1, 2)
            for part in (key, value)
        )
        attended = torch.nn.functional.scaled_dot_product_attention(q, k, v)
        out[:, index[0], index[1], index[2]] = attended.reshape(len(tokens), channels)
    return attention.project(out)


@pytest.mark.parametrize("dilation", [1, 2])
def test_attention_agrees_with_one_token_at_a_time(dilation):
    torch.manual_seed(0)
    attention = VolumetricAttention(8, heads=2, window=2)
    tokens = torch.randn(2, 4, 8, 4, 8)
    torch.testing.assert_close(
        attention(tokens, dilation), reference_attention(attention, tokens, dilation)
    )


def test_recursion_adds_only_residual_scales():
    once, thrice = (
        sum(p.numel() for p in RVT(replace(TINY, recursions=n)).parameters()) for n in (1, 3)
    )
    assert thrice - once == 2 * 2 * TINY.token_channels


def test_pixel_shuffle_puts_channels_in_place():
    features = torch.arange(8.0).view(1, 8, 1, 1, 1)
    torch.testing.assert_close(pixel_shuffle(features, 2)[0, 0], torch.arange(8.0).view(2, 2, 2))


def test_reduced_precision_keeps_the_skip_exact():
    torch.manual_seed(0)
    network = TDAFD(TINY)  # with its zero tail, the skip alone
    low = rand(1, 1, 16, 16, 16)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        reduced = network(low)
    assert reduced.dtype == torch.float32
    torch.testing.assert_close(reduced, network(low), atol=0, rtol=0)


def test_configuration_survives_a_round_trip():
    assert TDAFDConfig.from_dict(TINY.to_dict()) == TINY


@pytest.mark.parametrize(
    "changes", [{"scale": 5}, {"modules": 3}, {"modules": 0}, {"heads": 3}, {"channels": 7}]
)
def test_impossible_sizes_are_refused(changes):
    with pytest.raises(ValueError, match=r"must be|multiple"):
        replace(TINY, **changes)


def test_unknown_settings_are_refused():
    with pytest.raises(ValueError, match="depth"):
        TDAFDConfig.from_dict({"depth": 3})


SLICES = replace(TINY, axes=1, scale=4)


def test_a_network_for_one_axis_makes_the_last_alone_finer():
    network = TDAFD(SLICES)
    low = rand(1, 1, 7, 5, 6)
    high = network(low)
    assert high.shape == (1, 1, 7, 5, 24)
    torch.testing.assert_close(high, image_skip(low, (1, 1, 4)))  # of its zero tail, within limits
    assert network.tail.out_channels == 4


def test_the_skip_of_one_axis_does_not_mix_the_others():
    line = rand(1, 1, 1, 1, 9)
    low = line.expand(1, 1, 4, 3, 9)
    expected = image_skip(line, (1, 1, 3)).expand(1, 1, 4, 3, 27)
    torch.testing.assert_close(image_skip(low, (1, 1, 3)), expected)


def test_slices_are_in_order_after_the_shuffle():
    features = torch.arange(6.0).view(1, 3, 1, 1, 2)  # slices 0 and 1, three new ones of each
    assert pixel_shuffle(features, (1, 1, 3)).flatten().tolist() == [0, 2, 4, 1, 3, 5]


def test_limits_of_slices_are_their_own():
    network = TDAFD(SLICES)
    network.falloff_limits.zero_()
    seen = torch.zeros(1, 3, network.falloff_limits.shape[-1])
    seen[0, 0], seen[0, 2] = -1.0, 2.0
    network.observe(seen)
    assert network.falloff_limits.amin(dim=(0, 2)).tolist() == [-1.0, -1.0, 0.0]
    assert network.falloff_limits.amax(dim=(0, 2)).tolist() == [0.0, 0.0, 2.0]


def test_files_of_networks_for_all_axes_say_nothing_new():
    assert "axes" not in TINY.to_dict()
    assert TDAFDConfig.from_dict(SLICES.to_dict()) == SLICES


@pytest.mark.parametrize("changes", [{"axes": 2}, {"axes": 1, "scale": 7}, {"scale": 6}])
def test_impossible_factors_are_refused(changes):
    with pytest.raises(ValueError, match="must be"):
        replace(TINY, **changes)
