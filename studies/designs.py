"""Variants of TDAFD, to find which of its choices earn their cost."""

from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType

import torch
import torch.nn.functional as F  # noqa: N812 (the usual name)
from torch import nn

from tdafd_cli.networks.autocast import without_autocast
from tdafd_cli.networks.layers import NEGATIVE_SLOPE, activate, doubled, in_fp32
from tdafd_cli.networks.tdafd import FEDAB, MSFD, TDAFD, TDAFDConfig
from tdafd_cli.networks.upsampling import image_skip
from tdafd_cli.sampling.interpolation import interpolate
from tdafd_cli.sampling.spectrum import BANDS


class TrilinearSkip(TDAFD):
    """Corrects trilinear interpolation in place of a windowed sinc."""

    def forward(self, low: torch.Tensor, falloff: torch.Tensor | None = None) -> torch.Tensor:
        """Upscale as TDAFD does, with another skip."""
        scale = self.config.scale
        with without_autocast(low):
            skip = interpolate(low, scale, "trilinear")
        return super().forward(low, falloff) - image_skip(low, scale) + skip


class Blind(TDAFD):
    """Knows nothing of the volume's spectrum."""

    def forward(self, low: torch.Tensor, falloff: torch.Tensor | None = None) -> torch.Tensor:
        """Upscale as if every spectrum were a usual one."""
        return super().forward(low, low.new_zeros((len(low), 3, len(BANDS))))


class Blueprint(nn.Module):
    """A 1x1 convolution, then a depthwise one, as BSRN has them."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.mix = nn.Conv3d(inputs, outputs, 1, bias=False)
        self.depthwise = nn.Conv3d(outputs, outputs, 3, padding=1, groups=outputs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Keep the grid: (B, inputs, I, J, K) -> (B, outputs, I, J, K)."""
        return in_fp32(self.depthwise, self.mix(x)).to(x.dtype)


class DilatedMSFD(MSFD):
    """Sees its scales through dilated kernels at full resolution, not in pooled volumes."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Keep shape and grid."""
        distilled, coarse = activate(self.fine(x)).chunk(2, dim=1)
        wide = coarse
        for dilation in (2, 4):
            wide = wide + activate(
                F.conv3d(wide, self.scales.weight, self.scales.bias, 1, dilation, dilation)
            )
        out: torch.Tensor = self.fuse(torch.cat([distilled, activate(self.refine(wide))], dim=1))
        return out


class SerialFEDAB(FEDAB):
    """Gates by channel first and by place then, each on its own."""

    def __init__(self, channels: int, attention_channels: int) -> None:
        super().__init__(channels, attention_channels)
        self.expand_channel = nn.Conv3d(attention_channels, channels, 1)

    def forward(
        self, x: torch.Tensor, condition: torch.Tensor, residual: torch.Tensor
    ) -> torch.Tensor:
        """Keep shape and grid."""
        enhanced = activate(self.enhance(x))
        means = F.avg_pool3d(self.halve(self.reduce(enhanced)), 2)
        means = F.avg_pool3d(means, 3, stride=1, padding=1, count_include_pad=False)
        channel = self.channel(means) + condition[..., None, None, None].to(means.dtype)
        channel = torch.sigmoid(self.expand_channel(channel))
        enhanced = enhanced * doubled(doubled(channel))
        reduced = self.reduce(enhanced)
        spatial = self.spatial(F.leaky_relu(self.halve(reduced), NEGATIVE_SLOPE))
        gates = torch.sigmoid(self.expand(reduced + doubled(spatial)))
        out: torch.Tensor = residual + self.project(enhanced * gates)
        return out


def with_blocks(scale: int, block: type[MSFD] | type[FEDAB]) -> nn.Module:
    """TDAFD with another kind of MSFD or FEDAB."""
    config = TDAFDConfig(scale=scale)
    network = TDAFD(config)
    for module in network.modules_:
        if issubclass(block, MSFD):
            module.msfd = block(config.channels)
        else:
            module.fedab = block(config.channels, config.attention_channels)
    return network


def changed(scale: int, kind: type[TDAFD] = TDAFD, **changes: int) -> nn.Module:
    """TDAFD of other sizes, or of a subclass."""
    return kind(TDAFDConfig(scale=scale, **changes))


def without_rvt(scale: int) -> nn.Module:
    """Convolutions alone."""
    network = TDAFD(TDAFDConfig(scale=scale))
    network.rvts = nn.ModuleList(nn.Identity() for _ in network.rvts)
    return network


def separable(scale: int) -> nn.Module:
    """Blueprint separable convolutions (1x1, then depthwise) for every dense one in the DAFDs."""
    network = TDAFD(TDAFDConfig(scale=scale))
    for block in network.modules():
        if isinstance(block, MSFD | FEDAB):
            for name, layer in list(block.named_children()):
                if isinstance(layer, nn.Conv3d) and layer.kernel_size == (3, 3, 3):
                    setattr(block, name, Blueprint(layer.in_channels, layer.out_channels))
    return network


DESIGNS: Mapping[str, Callable[[int], nn.Module]] = MappingProxyType(
    {
        "TDAFD": changed,
        "16 channels": partial(changed, channels=16),
        "48 channels": partial(changed, channels=48),
        "2 modules": partial(changed, modules=2),
        "6 modules": partial(changed, modules=6),
        "1 recursion": partial(changed, recursions=1),
        "3 recursions": partial(changed, recursions=3),
        "windows of 8": partial(changed, window=8, recursions=1),
        "tokens of 4": partial(changed, token_stride=4, recursions=1),
        "no RVT": without_rvt,
        "separable": separable,
        "dilated MSFD": partial(with_blocks, block=DilatedMSFD),
        "serial FEDAB": partial(with_blocks, block=SerialFEDAB),
        "trilinear skip": partial(changed, kind=TrilinearSkip),
        "blind": partial(changed, kind=Blind),
    }
)
