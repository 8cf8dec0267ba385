import math
from functools import partial

import pytest
import torch
from torch import nn

from tdafd_cli.networks.complexity import complexity, low_edge
from tdafd_cli.networks.peers import PEERS
from tdafd_cli.networks.superformer import SuperFormer
from tdafd_cli.networks.tdafd import TDAFD, TDAFDConfig

# GFLOPs of one 32^3 -> 64^3 patch, measured by others' counters.
MEASURED_GFLOPS = {
    "SRCNN3D": 27.6,
    "DCSRN": 117,
    "mDCSRN": 215,
    "EDSR3D": 45.8,
    "EDDSR": 51.7,
    "ReCNN-10": 466,
    "ReCNN-20": 1045,
    "MFER": 112,
    "SuperFormer": 4125,
}


def small_network() -> nn.Module:
    return nn.Sequential(
        nn.Conv3d(1, 8, 3, padding=1),
        nn.ReLU(),
        nn.Conv3d(8, 8, 3, padding=1, groups=8),
        nn.ConvTranspose3d(8, 4, 4, stride=2, padding=1),
        nn.Conv3d(4, 2, 1, bias=False),
    )


def hooked_macs(network: nn.Module, low: torch.Tensor) -> int:
    """Multiply-accumulates of convolutions and linear layers, by their output sizes."""
    total = 0

    def count(layer, inputs, output):
        nonlocal total
        if isinstance(layer, nn.Linear):
            total += output.numel() * layer.in_features
            return
        transposed = isinstance(layer, nn.ConvTranspose3d)
        places = inputs[0].numel() if transposed else output.numel()
        channels = layer.out_channels if transposed else layer.in_channels
        total += places * channels // layer.groups * math.prod(layer.kernel_size)

    kinds = (nn.Conv3d, nn.ConvTranspose3d, nn.Linear)
    for layer in network.modules():
        if isinstance(layer, kinds):
            layer.register_forward_hook(count)
    with torch.no_grad():
        network(low)
    return total


def test_a_small_network_counted_by_hand():
    found = complexity(small_network, (4, 5, 6))
    voxels = 4 * 5 * 6
    by_layer = (8 * 27, 8 * 27, 8 * 4 * 64, 8 * 4 * 2)  # the last on 8 times the voxels
    assert found.macs == voxels * sum(by_layer)
    assert found.flops == 2 * found.macs
    assert found.parameters == (8 * 27 + 8) + (8 * 27 + 8) + (8 * 4 * 64 + 4) + 8


@pytest.mark.parametrize("name", ["SRCNN3D", "EDDSR", "MFER", "mDCSRN", "EDSR3D"])
def test_peers_agree_with_a_count_by_layers(name):
    found = complexity(lambda: PEERS[name].build(2), (4, 4, 4))
    with torch.device("meta"):
        network = PEERS[name].build(2).eval()
        counted = hooked_macs(network, torch.empty(1, 1, 4, 4, 4))
    interpolation = 8 * 4 * (4 * 4 + 8 * 4 + 8 * 8) if PEERS[name].grid == "high" else 0
    assert found.macs == counted + interpolation


@pytest.mark.parametrize("name", MEASURED_GFLOPS)
def test_peers_agree_with_published_counts(name):
    found = complexity(lambda: PEERS[name].build(2), (32, 32, 32))
    assert found.flops / 1e9 == pytest.approx(MEASURED_GFLOPS[name], rel=0.005)


@pytest.mark.parametrize(
    "build", [small_network, TDAFD, PEERS["EDSR3D"].build, lambda: SuperFormer(12, 2, 2, (2,))]
)
def test_networks_agree_with_a_second_public_counter(build):
    ptflops = pytest.importorskip("ptflops")
    build = partial(build, 2) if build is PEERS["EDSR3D"].build else build
    macs, parameters = ptflops.get_model_complexity_info(
        build(),
        (1, 16, 16, 16),
        as_strings=False,
        print_per_layer_stat=False,
        verbose=False,
        backend="aten",
    )
    found = complexity(build, (16, 16, 16))
    assert found.parameters == parameters
    assert found.macs == pytest.approx(macs, rel=0.03)  # it counts activations and norms too


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_tdafd_is_smaller_and_cheaper_than_the_peers_it_is_compared_with(scale):
    ours = complexity(lambda: TDAFD(TDAFDConfig(scale=scale)), (16, 16, 16))
    for name in ("EDDSR", "MFER", "ReCNN-20"):
        theirs = complexity(lambda name=name: PEERS[name].build(scale), (16, 16, 16))
        assert ours.parameters < theirs.parameters
        assert ours.flops < theirs.flops


def test_nothing_is_computed():
    found = complexity(lambda: PEERS["ReCNN-20"].build(4), (256, 256, 256))
    assert found.flops > 1e15


@pytest.mark.parametrize(
    ("patch", "scale", "edge"), [(64, 2, 32), (64, 3, 16), (64, 4, 16), (1, 2, 16)]
)
def test_patches_need_no_padding(patch, scale, edge):
    assert low_edge(patch, scale, 16) == edge
