"""Published 3D super-resolution networks, rebuilt from their descriptions to stand beside TDAFD.

Each maps a low volume (B, 1, I, J, K) to (B, 1, sI, sJ, sK). Those that work on the *high* grid
get the low volume through cubic B-spline interpolation, those on the *low* grid upsample inside.
No code was taken over; layers and widths are those of the papers and of what their authors
published, and at x2 the parameter counts are the published ones (`Peer.parameters`). Where a
paper describes one scale only, the kernels of our upsampling layers grow with the scale. None of
them comes with weights here.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import Literal

import torch
import torch.nn.functional as F  # noqa: N812 (the usual name)
from torch import nn

from tdafd_cli.networks.autocast import without_autocast
from tdafd_cli.networks.superformer import SuperFormer
from tdafd_cli.networks.upsampling import pixel_shuffle
from tdafd_cli.sampling.interpolation import interpolate


@dataclass(frozen=True)
class Peer:
    """A published network.

    Attributes
    ----------
    name : str
    build : callable
        Makes the network, with random weights, for a scale.
    grid : {"low", "high"}
        Where most of its layers work.
    parameters : int
        At x2.
    source : str
        Where it is described.
    """

    name: str
    build: Callable[[int], nn.Module]
    grid: Literal["low", "high"]
    parameters: int
    source: str


def conv(inputs: int, outputs: int, size: int = 3, *, bias: bool = True) -> nn.Conv3d:
    """Convolution that keeps the grid."""
    return nn.Conv3d(inputs, outputs, size, padding=size // 2, bias=bias)


def deconv(inputs: int, outputs: int, scale: int, size: int, *, bias: bool = True) -> nn.Module:
    """Transposed convolution to a grid ``scale`` times finer, centred on it.

    The kernel is one voxel shorter where ``size - scale`` is odd: else it had no centre.
    """
    size -= (size - scale) % 2
    padding = (size - scale) // 2
    return nn.ConvTranspose3d(inputs, outputs, size, scale, padding, bias=bias)


class PixelShuffle3d(nn.Module):
    """Move scale^3 channels into space: (B, C s^3, I, J, K) -> (B, C, sI, sJ, sK)."""

    def __init__(self, scale: int) -> None:
        super().__init__()
        self.scale = scale

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        groups = x.reshape(-1, self.scale**3, *x.shape[2:])  # -> (B C, s^3, I, J, K)
        high = pixel_shuffle(groups, self.scale)
        return high.view(len(x), -1, *high.shape[2:])


class Interpolated(nn.Module):
    """Network on the high grid, after cubic B-spline interpolation in the input's precision."""

    def __init__(self, body: nn.Module, scale: int) -> None:
        super().__init__()
        self.body = body
        self.scale = scale

    def forward(self, low: torch.Tensor) -> torch.Tensor:
        with without_autocast(low):
            high = interpolate(low, self.scale, "bspline")
        out: torch.Tensor = self.body(high)
        return out


class Residual(nn.Module):
    """Add what a network makes of its input to the input."""

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = x + self.body(x)
        return out


def srcnn3d(scale: int) -> nn.Module:
    """SRCNN3D 9-1-5: three convolutions."""
    body = nn.Sequential(conv(1, 64, 9), nn.ReLU(), conv(64, 32, 1), nn.ReLU(), conv(32, 1, 5))
    return Interpolated(body, scale)


def recnn(scale: int, layers: int = 20) -> nn.Module:
    """ReCNN: ``layers`` convolutions of 64 channels that predict what interpolation lacks."""
    inner = [layer for _ in range(layers - 2) for layer in (conv(64, 64), nn.ReLU())]
    body = nn.Sequential(conv(1, 64), nn.ReLU(), *inner, conv(64, 1))
    return Interpolated(Residual(body), scale)


class DenseBlock(nn.Module):
    """Units of batch norm, ELU and convolution; each adds ``growth`` channels to those it sees."""

    def __init__(self, channels: int, growth: int, units: int) -> None:
        super().__init__()
        widths = [channels + growth * unit for unit in range(units)]
        self.units = nn.ModuleList(
            nn.Sequential(nn.BatchNorm3d(width), nn.ELU(), conv(width, growth)) for width in widths
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for unit in self.units:
            x = torch.cat([x, unit(x)], dim=1)  # (B, C, I, J, K) -> (B, C + growth, I, J, K)
        return x


def dcsrn(scale: int, growth: int = 24) -> nn.Module:
    """DCSRN: one dense block of four units."""
    block = DenseBlock(2 * growth, growth, units=4)
    return Interpolated(
        nn.Sequential(conv(1, 2 * growth), block, conv(6 * growth, 1)),
        scale,
    )


class MultiLevelDense(nn.Module):
    """The body of mDCSRN: dense blocks, each fed with all that came before, through a 1x1."""

    def __init__(self, growth: int, blocks: int, units: int) -> None:
        super().__init__()
        width, block = 2 * growth, (2 + units) * growth
        self.head = conv(1, width)
        self.compress = nn.ModuleList(
            conv(width + block * done, width, 1) for done in range(1, blocks)
        )
        self.blocks = nn.ModuleList(DenseBlock(width, growth, units) for _ in range(blocks))
        self.reconstruct = conv(width + block * blocks, 1, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        head = self.head(x)
        found = [head, self.blocks[0](head)]
        for compress, block in zip(self.compress, list(self.blocks)[1:], strict=True):
            found.append(block(compress(torch.cat(found, dim=1))))
        out: torch.Tensor = self.reconstruct(torch.cat(found, dim=1))
        return out


def mdcsrn(scale: int, growth: int = 16) -> nn.Module:
    """Generator of mDCSRN, b4u4: four dense blocks of four units."""
    return Interpolated(MultiLevelDense(growth, blocks=4, units=4), scale)


class DenseChain(nn.Module):
    """Dense block of EDDSR: five convolutions, each seeing those before but not the input."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = conv(channels, channels, bias=False)
        self.rest = nn.ModuleList(
            conv(channels * seen, channels, bias=False) for seen in range(1, 5)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        found = [F.relu(self.first(x))]
        for layer in self.rest:
            found.append(F.relu(layer(torch.cat(found, dim=1))))
        return found[-1]


class EDDSR(nn.Module):
    """Four dense blocks in a row; all of their outputs meet in one transposed convolution."""

    def __init__(self, scale: int, channels: int = 24) -> None:
        super().__init__()
        self.head = nn.Sequential(
            conv(1, 64, bias=False), nn.ReLU(), conv(64, channels, bias=False), nn.ReLU()
        )
        self.blocks = nn.ModuleList(DenseChain(channels) for _ in range(4))
        self.tail = deconv(5 * channels, 1, scale, 4 * scale, bias=False)

    def forward(self, low: torch.Tensor) -> torch.Tensor:
        found = [self.head(low)]
        for block in self.blocks:
            found.append(block(found[-1]))
        out: torch.Tensor = self.tail(torch.cat(found, dim=1))
        return out


class MixedConvolution(nn.Module):
    """MFER's unit: plain, dilated and transposed convolutions summed; and an image made of them.

    The image is gated by place, from its own mean and maximum over channels; as it has one
    channel both are the image itself.
    """

    def __init__(self, inputs: int, channels: int, scale: int) -> None:
        super().__init__()
        self.plain = conv(inputs, channels)
        self.dilated = nn.Conv3d(inputs, channels, 3, padding=2, dilation=2)
        self.transposed = deconv(inputs, channels, 1, 3)
        self.image = deconv(channels, 1, scale, 2 * scale)
        self.gate = conv(2, 1)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        features = F.relu(self.plain(x) + self.dilated(x) + self.transposed(x))
        image = self.image(features)  # (B, C, I, J, K) -> (B, 1, sI, sJ, sK)
        gate = torch.sigmoid(self.gate(torch.cat([image, image], dim=1)))
        return features, F.relu(image * gate)


class MFER(nn.Module):
    """Nineteen units of mixed convolutions, each giving an image; images weighted and summed.

    The channel attention over the images looks at the whole volume, so tiles of a volume differ
    from the whole.
    """

    def __init__(self, scale: int, units: int = 19, channels: int = 32) -> None:
        super().__init__()
        self.head = conv(1, 64)
        inputs = [64, *[channels] * (units - 1)]
        self.units = nn.ModuleList(MixedConvolution(width, channels, scale) for width in inputs)
        reduced = max(1, units // 16)
        self.attention = nn.Sequential(conv(units, reduced, 1), nn.ReLU(), conv(reduced, units, 1))
        self.merge = conv(units, 1, 1)
        self.skip = deconv(1, 1, scale, 2 * scale)

    def forward(self, low: torch.Tensor) -> torch.Tensor:
        features, found = F.relu(self.head(low)), []
        for unit in self.units:
            features, image = unit(features)
            found.append(image)
        images = torch.cat(found, dim=1)  # -> (B, units, sI, sJ, sK)
        mean, most = F.adaptive_avg_pool3d(images, 1), F.adaptive_max_pool3d(images, 1)
        weights = torch.sigmoid(self.attention(mean) + self.attention(most))
        out: torch.Tensor = self.merge(images * weights) + self.skip(low)
        return out


def edsr3d(scale: int, channels: int = 32, blocks: int = 8) -> nn.Module:
    """EDSR's residual blocks without batch norm, in 3D, and its pixel shuffle."""
    body = [
        Residual(nn.Sequential(conv(channels, channels), nn.ReLU(), conv(channels, channels)))
        for _ in range(blocks)
    ]
    trunk = Residual(nn.Sequential(*body, conv(channels, channels)))
    upsampling: list[nn.Module] = []
    for factor in _factors(scale):
        upsampling += [conv(channels, channels * factor**3), PixelShuffle3d(factor)]
    return nn.Sequential(conv(1, channels), trunk, *upsampling, conv(channels, 1))


class ResidualDense(nn.Module):
    """Five densely connected convolutions, a fifth of whose result is added to the input."""

    def __init__(self, channels: int, growth: int) -> None:
        super().__init__()
        self.grow = nn.ModuleList(conv(channels + growth * n, growth) for n in range(4))
        self.shrink = conv(channels + 4 * growth, channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        found = x
        for layer in self.grow:
            found = torch.cat([found, F.leaky_relu(layer(found), 0.2)], dim=1)
        out: torch.Tensor = x + 0.2 * self.shrink(found)
        return out


class RRDB(nn.Module):
    """Residual in residual dense block."""

    def __init__(self, channels: int, growth: int) -> None:
        super().__init__()
        self.blocks = nn.Sequential(*[ResidualDense(channels, growth) for _ in range(3)])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = x + 0.2 * self.blocks(x)
        return out


def rrdbnet3d(scale: int, channels: int = 64, blocks: int = 3, growth: int = 32) -> nn.Module:
    """Generator of ESRGAN in 3D, as MTVNet's authors compare with: half the channels above."""
    trunk = [*[RRDB(channels, growth) for _ in range(blocks)], conv(channels, channels)]
    layers: list[nn.Module] = [conv(1, channels), Residual(nn.Sequential(*trunk))]
    half = channels // 2
    for factor, width in zip(_factors(scale), (channels, half), strict=False):
        layers += [nn.Upsample(scale_factor=factor), conv(width, half), nn.LeakyReLU(0.2)]
    return nn.Sequential(*layers, conv(half, half), nn.LeakyReLU(0.2), conv(half, 1))


def _factors(scale: int) -> tuple[int, ...]:
    """Steps in which a network reaches a scale: primes."""
    return (2, 2) if scale == 4 else (scale,)


PEERS: Mapping[str, Peer] = MappingProxyType(
    {
        peer.name: peer
        for peer in (
            Peer(
                "SRCNN3D",
                srcnn3d,
                "high",
                52_801,
                "Pham et al., Brain MRI super-resolution using deep 3D convolutional networks, "
                "ISBI 2017",
            ),
            Peer(
                "DCSRN",
                dcsrn,
                "high",
                223_729,
                "Chen et al., Brain MRI super resolution using 3D deep densely connected neural "
                "networks, ISBI 2018, arXiv:1801.02728",
            ),
            Peer(
                "mDCSRN",
                mdcsrn,
                "high",
                412_033,
                "Chen et al., Efficient and accurate MRI super-resolution using a generative "
                "adversarial network and 3D multi-level densely connected network, MICCAI 2018, "
                "arXiv:1803.01417",
            ),
            Peer(
                "EDSR3D",
                edsr3d,
                "low",
                693_761,
                "Lim et al., Enhanced deep residual networks for single image super-resolution, "
                "CVPRW 2017, arXiv:1707.02921; in 3D with 8 blocks of 32 channels",
            ),
            Peer(
                "EDDSR",
                EDDSR,
                "low",
                788_928,
                "Wang et al., 3D dense convolutional neural network for fast and accurate single "
                "MR image super-resolution, CMIG 93:101973, 2021",
            ),
            Peer(
                "ReCNN-10",
                partial(recnn, layers=10),
                "high",
                888_769,
                "Pham et al., Multiscale brain MRI super-resolution using deep 3D convolutional "
                "networks, CMIG 77:101647, 2019",
            ),
            Peer("ReCNN-20", recnn, "high", 1_995_329, "as ReCNN-10, with 20 layers"),
            Peer(
                "MFER",
                MFER,
                "low",
                1_702_615,
                "Li et al., Multi-level feature extraction and reconstruction for 3D MRI image "
                "super-resolution, Comput. Biol. Med. 171:108151, 2024",
            ),
            Peer(
                "RRDBNet3D",
                rrdbnet3d,
                "low",
                6_667_681,
                "Wang et al., ESRGAN, ECCVW 2018, arXiv:1809.00219; in 3D as in Høeg et al., "
                "MTVNet, arXiv:2412.03379, with 3 blocks",
            ),
            Peer(
                "SuperFormer",
                lambda scale: Interpolated(SuperFormer(), scale),
                "high",
                20_018_233,
                "Forigua et al., SuperFormer: volumetric transformer architectures for MRI "
                "super-resolution, SASHIMI 2022, arXiv:2406.03359",
            ),
        )
    }
)
