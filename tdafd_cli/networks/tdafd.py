"""TDAFD: a lightweight 3D network for MRI super-resolution, in one file.

The published abstract (Zhao et al., IEEE JBHI 29(7):5083-5094, 2025) fixes the plan: several DAFD
modules, each an MSFD block followed by a FEDAB, and two recursive volumetric transformers (RVT).
Everything it leaves open is this project's own design and is marked *ours*: the number of modules
and channels, MSFD's scales, FEDAB's two attentions, where the RVTs stand, their tokens, windows and
recursions, the image skip and the upsampling tail. Scores of this network are not the paper's.

    low (B, 1, I, J, K)
      |-- spectral fall-off -> condition: MLP -> every FEDAB
      |-- head: conv ------------------------------------------.
      |     DAFD x N/2 -> RVT -> DAFD x N/2 -> RVT             |
      |     fuse: 1x1 over every DAFD and RVT output --- (+) <-'
      |     tail: conv to scale^3 channels, pixel shuffle
      '---- windowed sinc ----------------------------- (+) --> limits --> high (B, 1, sI, sJ, sK)

For thick slices, whose voxels are longer along one axis, there is the same network for that axis
alone: it is brought last, the tail has ``scale`` channels, and high is (B, 1, I, J, sK).
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 (the usual name)
from torch import nn

from tdafd_cli.networks.autocast import without_autocast
from tdafd_cli.networks.layers import (
    NEGATIVE_SLOPE,
    activate,
    activated,
    added,
    attend,
    convolved,
    gated,
    halves,
    in_fp32,
    joined,
    plus_doubled,
    pooled,
)
from tdafd_cli.networks.limits import INTENSITY_LIMITS, bounded, unlimited, widen
from tdafd_cli.networks.upsampling import image_skip, pixel_shuffle
from tdafd_cli.sampling.factors import Factors, factors_of
from tdafd_cli.sampling.spectrum import BANDS, spectral_falloff

SCALES = (2, 3, 4)
SLICE_SCALES = (2, 3, 4, 5, 6)
"""Scales of networks for one axis: from slices as thick as two voxels are wide to six."""
CONDITION_CHANNELS = 64
Trunk = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]  # as `TDAFD.trunk`
COARSEST_STRIDE = 4  # low voxels per voxel of the coarsest features, which 3^3 windows pass over


@dataclass(frozen=True)
class TDAFDConfig:
    """Every size of the network.

    Parameters
    ----------
    scale : {2, 3, 4}, or 2 to 6 for one axis
        High voxels per low voxel along each axis that is made finer.
    channels : int
        Channels of the trunk; multiples of 16 run best on CPUs.
    modules : int
        DAFD modules; even, half of them before the first RVT.
    attention_channels : int
        Channels in which FEDAB computes its gates.
    token_channels, token_stride : int
        An RVT token is a cube of ``token_stride`` low voxels, embedded in ``token_channels``.
    window : int
        Edge of an attention window, in tokens.
    heads : int
        Attention heads of an RVT.
    recursions : int
        Times each RVT's one layer is applied; pass ``r`` attends to tokens ``2**r`` apart.
    mlp_ratio : float
        Hidden channels of the RVT's MLP per token channel.
    axes : {3, 1}
        Axes that are made finer: all, or the last alone.
    """

    scale: int = 2
    channels: int = 32
    modules: int = 4
    attention_channels: int = 16
    token_channels: int = 32
    token_stride: int = 2
    window: int = 4
    heads: int = 2
    recursions: int = 2
    mlp_ratio: float = 2.0
    axes: int = 3

    def __post_init__(self) -> None:
        if self.axes not in (1, 3):
            raise ValueError(f"axes must be 3 or 1, got {self.axes}")
        if self.scale not in (SCALES if self.axes == 3 else SLICE_SCALES):
            raise ValueError(
                f"scale must be one of {SCALES}, or of {SLICE_SCALES} for one axis, "
                f"got {self.scale}"
            )
        if self.modules < 2 or self.modules % 2:
            raise ValueError(f"modules must be even and at least 2, got {self.modules}")
        if self.channels % 2 or self.token_channels % self.heads:
            raise ValueError("channels must be even and token_channels a multiple of heads")
        if self.grid % COARSEST_STRIDE:
            raise ValueError(f"the grid of {self.grid} must be a multiple of {COARSEST_STRIDE}")

    @property
    def grid(self) -> int:
        """Low voxels after which the network's windows repeat; tiles start at its multiples."""
        return self.token_stride * self.window << (self.recursions - 1)

    @property
    def factors(self) -> Factors:
        """High voxels per low voxel along I, J and K."""
        return factors_of(self.scale) if self.axes == 3 else (1, 1, self.scale)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as kept in a weights file.

        All three axes go without saying, so that programs that know nothing else read the file.
        """
        values = asdict(self)
        if self.axes == 3:
            del values["axes"]
        return values

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "TDAFDConfig":
        """Configuration from :meth:`to_dict`'s values; ``ValueError`` on unknown names."""
        unknown = set(values) - {field.name for field in fields(cls)}
        if unknown:
            raise ValueError(f"unknown settings {sorted(unknown)}")
        return cls(**values)


class MSFD(nn.Module):
    """Multi-scale feature distillation: half of the features kept, half sent through the scales.

    *Ours*: as in IMDN half of the first convolution's channels are distilled at once; the others
    pass the scales 1/2 and 1/4, where one convolution with the same weights serves every scale
    (an eighth and a sixty-fourth of its cost at full resolution), and are refined at full
    resolution with what the scales found.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.kept = channels // 2
        self.fine = nn.Conv3d(channels, channels, 3, padding=1)
        self.scales = nn.Conv3d(self.kept, self.kept, 3, padding=1)
        self.refine = nn.Conv3d(self.kept, self.kept, 3, padding=1)
        self.fuse = nn.Conv3d(channels, channels, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        distilled, coarse = halves(self.fine, x)  # each (B, C/2, I, J, K)
        half = pooled(coarse)  # -> (B, C/2, I/2, J/2, K/2)
        half = half + activated(self.scales, half)
        quarter = pooled(half)  # -> (B, C/2, I/4, J/4, K/4)
        quarter = quarter + activated(self.scales, quarter)
        half = half + activated(self.scales, plus_doubled(half, quarter))
        refined = activated(self.refine, plus_doubled(coarse, half))  # -> (B, C/2, I, J, K)
        return joined(self.fuse, [distilled, refined])


class FEDAB(nn.Module):
    """Feature enhancement dual attention block: enhance, then gate by place and by channel.

    *Ours*: the spatial gate comes from half-resolution convolutions (as in RFDN's ESA), the channel
    gate from means over a fixed neighbourhood of about 12 voxels instead of the whole volume, so
    that a tile of a volume is gated as the whole volume is. What the volume's spectrum tells of its
    degradation joins the channel gate. All are summed as logits.
    """

    def __init__(self, channels: int, attention_channels: int) -> None:
        super().__init__()
        self.enhance = nn.Conv3d(channels, channels, 3, padding=1)
        self.reduce = nn.Conv3d(channels, attention_channels, 1)
        self.halve = nn.Conv3d(attention_channels, attention_channels, 2, stride=2)
        self.spatial = nn.Conv3d(attention_channels, attention_channels, 3, padding=1)
        self.channel = nn.Sequential(
            nn.Conv3d(attention_channels, attention_channels, 1),
            nn.LeakyReLU(NEGATIVE_SLOPE),
            nn.Conv3d(attention_channels, attention_channels, 1),
        )
        self.expand = nn.Conv3d(attention_channels, channels, 1)
        self.project = nn.Conv3d(channels, channels, 1)

    def forward(
        self, x: torch.Tensor, condition: torch.Tensor, residual: torch.Tensor
    ) -> torch.Tensor:
        enhanced = activated(self.enhance, x)  # (B, C, I, J, K)
        reduced = convolved(self.reduce, enhanced)  # -> (B, A, I, J, K)
        half = convolved(self.halve, reduced)  # -> (B, A, I/2, J/2, K/2)
        local_mean = pooled(half)  # -> (B, A, I/4, J/4, K/4)
        local_mean = F.avg_pool3d(local_mean, 3, stride=1, padding=1, count_include_pad=False)
        spatial = convolved(self.spatial, F.leaky_relu(half, NEGATIVE_SLOPE))
        channel = self.channel(local_mean)
        channel = channel + condition[..., None, None, None].to(channel.dtype)
        gates = plus_doubled(spatial, channel)
        gates = plus_doubled(reduced, gates)  # -> (B, A, I, J, K)
        enhanced = gated(enhanced, self.expand, gates)  # -> (B, C, I, J, K)
        return added(self.project, enhanced, to=residual)


class DAFD(nn.Module):
    """Dual-attention feature distillation module: MSFD, then FEDAB, on a residual path."""

    def __init__(self, channels: int, attention_channels: int) -> None:
        super().__init__()
        self.msfd = MSFD(channels)
        self.fedab = FEDAB(channels, attention_channels)

    def forward(self, x: torch.Tensor, condition: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.fedab(self.msfd(x), condition, residual=x)
        return out


class VolumetricAttention(nn.Module):
    """Multi-head self-attention inside cubic windows of tokens.

    A window holds ``window**3`` tokens that lie ``dilation`` apart in a block of
    ``window * dilation`` tokens: neighbours at dilation 1, a whole block's breadth beyond that.
    Blocks tile the token grid, so no mask and no cyclic shift is needed.
    """

    def __init__(self, channels: int, heads: int, window: int) -> None:
        super().__init__()
        self.heads = heads
        self.window = window
        self.qkv = nn.Linear(channels, 3 * channels)
        self.project = nn.Linear(channels, channels)

    def forward(self, tokens: torch.Tensor, dilation: int) -> torch.Tensor:
        batch, *sizes, channels = tokens.shape
        w, d = self.window, dilation
        split = [part for size in sizes for part in (size // (w * d), w, d)]
        # (B, i, w, d, j, w, d, k, w, d, C) -> (B, i, j, k, d, d, d, w, w, w, C)
        blocks = tokens.reshape(batch, *split, channels).permute(0, 1, 4, 7, 3, 6, 9, 2, 5, 8, 10)
        windows = blocks.reshape(-1, w**3, channels)  # -> (windows, w^3, C)
        qkv = self.qkv(windows).view(-1, w**3, 3, self.heads, channels // self.heads)
        query, key, value = qkv.permute(2, 0, 3, 1, 4)  # each (windows, H, w^3, c)
        attended = attend(query, key, value).transpose(1, 2)  # -> (windows, w^3, H, c)
        out: torch.Tensor = self.project(attended.reshape(windows.shape))
        # (B, i, j, k, d, d, d, w, w, w, C) -> (B, i, w, d, j, w, d, k, w, d, C)
        out = out.view(blocks.shape).permute(0, 1, 7, 4, 2, 8, 5, 3, 9, 6, 10)
        return out.reshape(tokens.shape)


class RVT(nn.Module):
    """Recursive volumetric transformer: one layer, applied again and again with the same weights.

    *Ours*: tokens are embedded by a strided convolution and returned by its transpose; positions
    come from a depthwise convolution rather than a bias table; pass ``r`` uses windows of dilation
    ``2**r``, so recursion widens the view without new weights; each pass has its own residual
    scales (as in SReT), the only parameters that recursion adds.
    """

    def __init__(self, config: TDAFDConfig) -> None:
        super().__init__()
        tokens, stride = config.token_channels, config.token_stride
        hidden = int(tokens * config.mlp_ratio)
        self.embed = nn.Conv3d(config.channels, tokens, stride, stride=stride)
        self.position = nn.Conv3d(tokens, tokens, 3, padding=1, groups=tokens)
        self.norm_attention = nn.LayerNorm(tokens)
        self.attention = VolumetricAttention(tokens, config.heads, config.window)
        self.norm_mlp = nn.LayerNorm(tokens)
        self.mlp = nn.Sequential(nn.Linear(tokens, hidden), nn.GELU(), nn.Linear(hidden, tokens))
        self.residual_scales = nn.Parameter(torch.ones(config.recursions, 2, tokens))
        self.restore = nn.ConvTranspose3d(tokens, config.channels, stride, stride=stride)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        grid = convolved(self.embed, x)  # (B, C, I, J, K) -> (B, T, I/2, J/2, K/2)
        for dilation, (scale_attention, scale_mlp) in enumerate(self.residual_scales):
            grid = grid + in_fp32(self.position, grid)
            tokens = grid.permute(0, 2, 3, 4, 1)  # -> (B, I/2, J/2, K/2, T)
            attended = self.attention(self.norm_attention(tokens), 2**dilation)
            tokens = tokens + scale_attention * attended
            tokens = tokens + scale_mlp * self.mlp(self.norm_mlp(tokens))
            grid = tokens.permute(0, 4, 1, 2, 3)  # -> (B, T, I/2, J/2, K/2)
        out: torch.Tensor = x + self.restore(grid)  # -> (B, C, I, J, K)
        return out


class TDAFD(nn.Module):
    """Transformer-based dual-attention feature distillation network.

    Maps a low volume (B, 1, I, J, K), normalised so that its tissue spans about 0 to 1, to
    (B, 1, sI, sJ, sK) over the same field of view. Any size from 1 voxel works: the input is
    edge-padded to the window grid and the result cropped. Run the trunk in reduced precision by
    calling it under ``torch.autocast``; the image skip is always computed in fp32.

    *Ours*: a network that sees a neighbourhood must guess whether a soft edge is anatomy, blur or a
    thick slice. The spectral fall-off of the whole volume (`sampling.spectrum`) tells, so
    an MLP turns it into a few channels for the gates of every FEDAB. For a part of a volume, give
    the fall-off of the whole.

    Fall-off and intensities beyond those of training are brought back to the limits (`limits`), and
    the result, but in training, stays near the scan's own intensities around each voxel.
    """

    def __init__(self, config: TDAFDConfig | None = None) -> None:
        super().__init__()
        config = config or TDAFDConfig()
        self.config = config
        channels, half = config.channels, config.modules // 2
        self.head = nn.Conv3d(1, channels, 3, padding=1)
        self.modules_ = nn.ModuleList(
            DAFD(channels, config.attention_channels) for _ in range(config.modules)
        )
        self.rvts = nn.ModuleList(RVT(config) for _ in range(2))
        self.rvt_after = (half - 1, config.modules - 1)
        self.condition = nn.Sequential(
            nn.Linear(3 * len(BANDS), CONDITION_CHANNELS),
            nn.GELU(),
            nn.Linear(CONDITION_CHANNELS, config.modules * config.attention_channels),
        )
        self.fuse = nn.Conv3d(channels * config.modules, channels, 1)
        self.tail = nn.Conv3d(channels, math.prod(config.factors), 3, padding=1)
        self.register_buffer("falloff_limits", unlimited(config.axes))
        for last in (self.condition[-1], self.tail):
            nn.init.zeros_(last.weight)  # type: ignore[arg-type]
            nn.init.zeros_(last.bias)  # type: ignore[arg-type]

    falloff_limits: torch.Tensor

    @property
    def grid(self) -> int:
        """Low voxels after which the windows repeat; tiles must start at its multiples."""
        return self.config.grid

    def observe(self, falloff: torch.Tensor) -> None:
        """Widen the limits to fall-offs (B, 3, bands) that the network is trained on."""
        if self.config.axes == 3:
            widen(self.falloff_limits, falloff.flatten(0, 1))
            return
        widen(self.falloff_limits[:, :2], falloff[:, :2].flatten(0, 1))
        widen(self.falloff_limits[:, 2], falloff[:, 2])

    def forward(
        self,
        low: torch.Tensor,
        falloff: torch.Tensor | None = None,
        trunk: Trunk | None = None,
    ) -> torch.Tensor:
        """Upscale volumes, or parts of volumes whose fall-off (B, 3, bands) is given.

        Another ``trunk`` may compute in the own one's place.
        """
        factors = self.config.factors
        if falloff is None:
            with without_autocast(low):
                falloff = spectral_falloff(low)
        sizes = low.shape[2:]
        padding = [amount for size in reversed(sizes) for amount in (0, self._missing(size))]
        padded = F.pad(low, padding, mode="replicate") if any(padding) else low
        residual = pixel_shuffle((trunk or self.trunk)(padded, falloff), factors).float()
        i, j, k = (size * factor for size, factor in zip(sizes, factors, strict=True))
        high = image_skip(low, factors) + residual[..., :i, :j, :k]
        # Training sees how far an estimate went, so as to lead it back.
        return high if self.training else bounded(high, low, factors)

    def _missing(self, size: int) -> int:
        """Voxels that an axis lacks to fill windows, and to be long enough for every scale."""
        windows = math.ceil(max(size, COARSEST_STRIDE * 3) / self.grid)
        return windows * self.grid - size

    def trunk(self, low: torch.Tensor, falloff: torch.Tensor) -> torch.Tensor:
        """Features that the pixel shuffle turns into the residual: -> (B, s^3 or s, I, J, K)."""
        shallow = convolved(
            self.head, low.clamp(*INTENSITY_LIMITS)
        )  # (B, 1, I, J, K) -> (B, C, I, J, K)
        falloff = falloff.clamp(*self.falloff_limits)
        with without_autocast(low):
            conditions = self.condition(falloff.flatten(1).to(low.dtype))  # -> (B, N A)
        features, kept = shallow, []
        for index, condition in enumerate(conditions.chunk(self.config.modules, dim=1)):
            features = self.modules_[index](features, condition)
            if index in self.rvt_after:
                features = self.rvts[self.rvt_after.index(index)](features)
            kept.append(features)
        fused = activate(joined(self.fuse, kept, to=shallow))
        return convolved(self.tail, fused)
