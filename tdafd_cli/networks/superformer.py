"""SuperFormer, a volumetric Swin transformer, rebuilt from its description."""

import math

import torch
from torch import nn


class WindowAttention(nn.Module):
    """Self-attention in cubic windows with a table of relative position biases.

    Windows of every second layer are shifted by half a window, cyclically; tokens that the shift
    brings together from opposite faces do not see each other.
    """

    relative: torch.Tensor

    def __init__(self, channels: int, heads: int, window: int, *, shifted: bool) -> None:
        super().__init__()
        self.heads, self.window = heads, window
        self.shift = window // 2 if shifted else 0
        self.qkv = nn.Linear(channels, 3 * channels)
        self.project = nn.Linear(channels, channels)
        self.bias = nn.Parameter(torch.zeros((2 * window - 1) ** 3, heads))
        axis = torch.arange(window)
        place = torch.cartesian_prod(axis, axis, axis)  # (w^3, 3)
        steps = place[:, None] - place + window - 1  # (w^3, w^3, 3)
        base = torch.tensor([(2 * window - 1) ** 2, 2 * window - 1, 1])
        self.register_buffer("relative", (steps * base).sum(-1), persistent=False)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        shift = (self.shift,) * 3
        shifted = torch.roll(tokens, [-s for s in shift], (1, 2, 3)) if self.shift else tokens
        windows = self._split(shifted)  # (B, i, j, k, C) -> (B n, w^3, C)
        count, length, channels = windows.shape
        qkv = self.qkv(windows).view(count, length, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        query, key, value = qkv.reshape(3, count * self.heads, length, -1)
        scores = (query * query.shape[-1] ** -0.5) @ key.mT  # -> (B n H, w^3, w^3)
        scores = scores.view(count, self.heads, length, length)
        scores = scores + self.bias[self.relative].permute(2, 0, 1)
        if self.shift:
            scores = scores.masked_fill(self._apart(tokens)[:, None], -math.inf)
        attended = scores.softmax(-1).flatten(0, 1) @ value  # -> (B n H, w^3, c)
        attended = attended.view(count, self.heads, length, -1).transpose(1, 2)
        merged = self._merge(self.project(attended.reshape(count, length, channels)), tokens.shape)
        return torch.roll(merged, shift, (1, 2, 3)) if self.shift else merged

    def _split(self, tokens: torch.Tensor) -> torch.Tensor:
        batch, *sizes, channels = tokens.shape
        w = self.window
        parts = [part for size in sizes for part in (size // w, w)]
        split = tokens.reshape(batch, *parts, channels).permute(0, 1, 3, 5, 2, 4, 6, 7)
        return split.reshape(-1, w**3, channels)

    def _merge(self, windows: torch.Tensor, shape: torch.Size) -> torch.Tensor:
        batch, *sizes, channels = shape
        w = self.window
        split = windows.view(batch, *[size // w for size in sizes], w, w, w, channels)
        return split.permute(0, 1, 4, 2, 5, 3, 6, 7).reshape(shape)

    def _apart(self, tokens: torch.Tensor) -> torch.Tensor:
        """(B n, w^3, w^3) whether two tokens of a window come from opposite faces."""
        region = torch.zeros(tokens.shape[:-1], device=tokens.device)
        for axis in (1, 2, 3):
            wrapped = torch.arange(tokens.shape[axis], device=tokens.device)
            wrapped = (wrapped >= tokens.shape[axis] - self.shift).to(region)
            region = 2 * region + wrapped.view([-1 if a == axis else 1 for a in range(4)])
        regions = self._split(region[..., None])  # -> (B n, w^3, 1)
        return regions != regions.mT


class SwinLayer(nn.Module):
    """Attention, then an MLP, each after a layer norm and on a residual path."""

    def __init__(self, channels: int, heads: int, window: int, *, shifted: bool) -> None:
        super().__init__()
        self.norm_attention = nn.LayerNorm(channels)
        self.attention = WindowAttention(channels, heads, window, shifted=shifted)
        self.norm_mlp = nn.LayerNorm(channels)
        self.mlp = nn.Sequential(
            nn.Linear(channels, 2 * channels), nn.GELU(), nn.Linear(2 * channels, channels)
        )

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        tokens = tokens + self.attention(self.norm_attention(tokens))
        out: torch.Tensor = tokens + self.mlp(self.norm_mlp(tokens))
        return out


class SwinGroup(nn.Module):
    """Layers with windows in place and shifted in turn, then a convolution; residual."""

    def __init__(self, channels: int, heads: int, window: int, layers: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            *[SwinLayer(channels, heads, window, shifted=n % 2 == 1) for n in range(layers)]
        )
        self.conv = nn.Conv3d(channels, channels, 3, padding=1)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        grid = self.layers(tokens).movedim(-1, 1)  # (B, i, j, k, C) -> (B, C, i, j, k)
        out: torch.Tensor = tokens + self.conv(grid).movedim(1, -1)
        return out


class SuperFormer(nn.Module):
    """Two streams of tokens, from the volume and from its features, through the same transformer.

    Works on the high grid, (B, 1, I, J, K) to the same shape, padded inside to whole windows.
    Tokens are cubes of ``patch`` voxels.
    """

    def __init__(
        self,
        channels: int = 252,
        heads: int = 6,
        window: int = 8,
        layers: tuple[int, ...] = (6, 6, 6),
        patch: int = 2,
    ) -> None:
        super().__init__()
        self.multiple = patch * window
        self.head = nn.Conv3d(1, channels, 3, padding=1)
        self.embed_volume = nn.Conv3d(1, channels, patch, patch)
        self.embed_features = nn.Conv3d(channels, channels, patch, patch)
        self.norms = nn.ModuleList(nn.LayerNorm(channels) for _ in range(2))
        self.groups = nn.Sequential(
            *[SwinGroup(channels, heads, window, depth) for depth in layers]
        )
        self.norm = nn.LayerNorm(channels)
        self.after = nn.Conv3d(channels, channels, 3, padding=1)
        self.upsample = nn.Sequential(
            nn.ConvTranspose3d(channels, channels, patch, patch),
            nn.Conv3d(channels, channels, 3, padding=1),
            nn.InstanceNorm3d(channels),
            nn.LeakyReLU(),
        )
        self.tail = nn.Sequential(
            nn.Conv3d(channels, channels // 2, 3, padding=1),
            nn.LeakyReLU(),
            nn.Conv3d(channels // 2, 1, 1),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        sizes = x.shape[2:]
        padding = [n for size in reversed(sizes) for n in (0, -size % self.multiple)]
        x = nn.functional.pad(x, padding, mode="replicate")
        features = self.head(x)  # -> (B, C, I, J, K)
        deep = (
            self._deep(self.embed_volume(x), self.norms[0])
            + self._deep(self.embed_features(features), self.norms[1])
        ) / 2  # -> (B, C, I/p, J/p, K/p)
        out: torch.Tensor = self.tail(features + self.upsample(deep))  # -> (B, 1, I, J, K)
        return out[..., : sizes[0], : sizes[1], : sizes[2]]

    def _deep(self, grid: torch.Tensor, norm: nn.Module) -> torch.Tensor:
        tokens = self.norm(self.groups(norm(grid.movedim(1, -1))))
        out: torch.Tensor = self.after(tokens.movedim(-1, 1))
        return out
