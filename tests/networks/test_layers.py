"""Fused kernels must do what the plain layers do, as which they run with gradients."""

import pytest
import torch
from torch import nn

from tdafd_cli.networks.layers import (
    activated,
    added,
    attend,
    convolved,
    fuses,
    gated,
    halves,
    joined,
    plus_doubled,
    pooled,
)
from tdafd_cli.networks.tdafd import MSFD, TDAFD, TDAFDConfig


def rand(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def convolution(inputs, outputs, edge, **options):
    torch.manual_seed(edge)
    return nn.Conv3d(inputs, outputs, edge, padding=edge // 2, **options)


SMALL, LARGE = rand(2, 4, 4, 6, 8), rand(2, 4, 8, 12, 16, seed=1)
CASES = {
    "convolved": lambda x: convolved(convolution(4, 6, 3), x),
    "convolved point by point": lambda x: convolved(convolution(4, 6, 1), x),
    "strided": lambda x: convolved(convolution(4, 6, 2, stride=2), x),
    "depthwise": lambda x: convolved(convolution(4, 4, 3, groups=4), x),
    "activated": lambda x: activated(convolution(4, 6, 3), x),
    "halves": lambda x: torch.cat(list(halves(convolution(4, 6, 3), x)), dim=1),
    "joined": lambda x: joined(convolution(8, 6, 1), [x, -x]),
    "joined and added": lambda x: joined(convolution(12, 4, 1), [x, -x, x * x], to=x),
    "added": lambda x: added(convolution(4, 4, 3), x, to=-x),
    "gated": lambda x: gated(x.clone(), convolution(4, 4, 1), -x),
    "pooled": pooled,
    "plus doubled": lambda x: plus_doubled(x, SMALL),
    "attended": lambda x: attend(x[:, :, 0], x[:, :, 1], x[:, :, 2]),
}


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last_3d])
@pytest.mark.parametrize("case", CASES)
def test_fused_layers_do_what_plain_ones_do(case, layout):
    features = LARGE.contiguous(memory_format=layout)
    plain = CASES[case](features)
    with torch.no_grad():
        fused = CASES[case](features)
    torch.testing.assert_close(fused, plain.detach(), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("case", CASES)
def test_inputs_are_left_alone(case):
    features = LARGE.clone()
    with torch.no_grad():
        CASES[case](features)
    assert torch.equal(features, LARGE)


def test_only_inference_in_fp32_on_a_cpu_is_fused():
    assert not fuses(LARGE)
    with torch.no_grad():
        if not fuses(LARGE):
            pytest.skip("this PyTorch has no fused kernels")
        assert not fuses(LARGE.bfloat16())
        assert not fuses(LARGE.to("meta"))
        assert not fuses(LARGE, nn.Sequential())
        with torch.autocast("cpu", torch.bfloat16):
            assert not fuses(LARGE)


@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")
def test_tracing_sees_plain_layers():
    with torch.no_grad():
        traced = torch.jit.trace(MSFD(4), LARGE, check_trace=False)
    assert "mkldnn" not in str(traced.inlined_graph)


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_a_whole_network_gives_the_same_fused(scale):
    torch.manual_seed(scale)
    network = TDAFD(TDAFDConfig(scale=scale, channels=16, token_channels=16)).eval()
    torch.nn.init.normal_(network.tail.weight, std=0.1)
    torch.nn.init.normal_(network.condition[-1].weight, std=0.1)
    low = rand(2, 1, 17, 16, 9).contiguous(memory_format=torch.channels_last_3d)
    plain = network(low)
    with torch.no_grad():
        fused = network(low)
    torch.testing.assert_close(fused, plain.detach(), atol=1e-5, rtol=1e-5)
