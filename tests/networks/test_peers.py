import pytest
import torch

from tdafd_cli.networks.peers import (
    PEERS,
    PixelShuffle3d,
    dcsrn,
    deconv,
    edsr3d,
    mdcsrn,
    recnn,
    srcnn3d,
)
from tdafd_cli.networks.superformer import SuperFormer, SwinLayer, WindowAttention
from tdafd_cli.sampling.interpolation import interpolate

# From the papers, their authors' code or others' measurements, as rounded there.
PUBLISHED = {
    "SRCNN3D": 52.8e3,
    "DCSRN": 224e3,
    "mDCSRN": 412e3,
    "EDSR3D": 694e3,
    "EDDSR": 789e3,
    "ReCNN-10": 0.89e6,
    "ReCNN-20": 2.00e6,
    "MFER": 1.70e6,
    "RRDBNet3D": 6.67e6,
    "SuperFormer": 20.0e6,
}


def parameters(network: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


@pytest.mark.parametrize("name", PEERS)
def test_parameters_are_the_published_ones(name):
    with torch.device("meta"):
        network = PEERS[name].build(2)
    assert parameters(network) == PEERS[name].parameters
    assert parameters(network) == pytest.approx(PUBLISHED[name], rel=0.003)


@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize("name", PEERS)
def test_output_is_finer_by_the_scale(name, scale):
    with torch.device("meta"):
        network = PEERS[name].build(scale).eval()
        high = network(torch.empty(2, 1, 5, 6, 7))
    assert high.shape == (2, 1, 5 * scale, 6 * scale, 7 * scale)


@pytest.mark.parametrize("build", [srcnn3d, recnn, dcsrn, mdcsrn, edsr3d])
def test_every_parameter_learns(build):
    network = build(2)
    network(torch.rand(1, 1, 4, 4, 4)).square().sum().backward()
    assert all(parameter.grad is not None for parameter in network.parameters())


def test_recnn_starts_from_interpolation():
    network, low = recnn(2, layers=3), torch.rand(1, 1, 4, 5, 6)
    for parameter in network.parameters():
        torch.nn.init.zeros_(parameter)
    torch.testing.assert_close(network(low), interpolate(low, 2, "bspline"))


def test_pixel_shuffle_is_two_dimensional_pixel_shuffle_plane_by_plane():
    features = torch.rand(1, 8, 1, 3, 4)
    shuffled = PixelShuffle3d(2)(features)
    for offset in range(2):  # along I, channels run slowest
        expected = torch.nn.functional.pixel_shuffle(features[:, 4 * offset : 4 * offset + 4, 0], 2)
        torch.testing.assert_close(shuffled[:, :, offset], expected)


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_deconvolutions_are_centred(scale):
    layer = deconv(1, 1, scale, 4 * scale, bias=False)
    torch.nn.init.ones_(layer.weight)
    impulse = torch.zeros(1, 1, 9, 9, 9)
    impulse[..., 4, 4, 4] = 1
    spread = layer(impulse)
    assert spread.shape[-1] == 9 * scale
    torch.testing.assert_close(spread, spread.flip(2, 3, 4))


@pytest.mark.parametrize("shifted", [False, True])
def test_windows_leave_every_token_in_its_place(shifted):
    attention = WindowAttention(8, heads=1, window=2, shifted=shifted)
    one = torch.eye(8)
    with torch.no_grad():  # each token attends to itself, as none is more like it
        attention.qkv.weight.copy_(torch.cat([30 * one, 30 * one, one]))
        attention.project.weight.copy_(one)
        attention.qkv.bias.zero_()
        attention.project.bias.zero_()
    tokens = torch.randn(2, 4, 6, 2, 8, generator=torch.Generator().manual_seed(0))
    tokens = tokens / tokens.norm(dim=-1, keepdim=True)
    torch.testing.assert_close(attention(tokens), tokens)


@pytest.mark.parametrize("shifted", [False, True])
def test_tokens_see_their_window_only(shifted):
    torch.manual_seed(0)
    layer = SwinLayer(4, heads=2, window=2, shifted=shifted).eval()
    tokens = torch.rand(1, 6, 6, 6, 4)
    changed = tokens.clone()
    changed[0, 0, 0, 0] += 1
    seen = (layer(changed) != layer(tokens)).any(-1)[0].nonzero()
    # Shifted windows begin at 1, so voxel 0 stands alone: it must not see the opposite face.
    assert seen.max() == (0 if shifted else 1)


def test_superformer_takes_any_size():
    network = SuperFormer(channels=12, heads=2, window=2, layers=(2,)).eval()
    with torch.no_grad():
        assert network(torch.rand(1, 1, 7, 4, 9)).shape == (1, 1, 7, 4, 9)


def test_a_small_peer_overfits_a_patch():
    torch.manual_seed(0)
    network = edsr3d(2, channels=8, blocks=1)
    low, high = torch.rand(1, 1, 4, 4, 4), torch.rand(1, 1, 8, 8, 8)
    optimiser = torch.optim.Adam(network.parameters(), lr=1e-2)
    losses = []
    for _ in range(60):
        loss = (network(low) - high).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]
