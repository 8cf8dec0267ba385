"""Layers of TDAFD, each a single kernel of oneDNN where a CPU computes in fp32 without gradients.

PyTorch runs a convolution, its activation and a sum as three passes over memory, and on CPUs gives
small convolutions a kernel ten times slower than oneDNN's. The library, which comes with PyTorch,
does each of these in one pass; PyTorch's own compiler calls it in the same way. Everywhere else
these functions are their plain definitions, and both agree to rounding.
"""

from collections.abc import Sequence
from functools import cache

import torch
import torch.nn.functional as F  # noqa: N812 (the usual name)
from torch import nn

from tdafd_cli.networks.autocast import without_autocast

NEGATIVE_SLOPE = 0.05  # of the leaky ReLU, as in IMDN and RFDN


def activate(features: torch.Tensor) -> torch.Tensor:
    """Leaky ReLU, in place: nothing before it needs its own output."""
    return F.leaky_relu(features, NEGATIVE_SLOPE, inplace=True)


def in_fp32(convolution: nn.Conv3d, features: torch.Tensor) -> torch.Tensor:
    """Apply a depthwise convolution in its weights' precision, under autocast too.

    The backward pass of bf16 depthwise convolutions takes a CPU three to five times as long as in
    fp32 (measured with torch 2.13): it was a third of a whole training step.
    """
    with without_autocast(features):
        return convolved(convolution, features.to(convolution.weight.dtype))


def convolved(convolution: nn.Conv3d, features: torch.Tensor) -> torch.Tensor:
    """Apply a convolution: (B, C, I, J, K) -> (B, C', I', J', K')."""
    if fuses(features, convolution):
        return _fused(convolution, features)
    out: torch.Tensor = convolution(features)
    return out


def activated(convolution: nn.Conv3d, features: torch.Tensor) -> torch.Tensor:
    """Apply a convolution, then the leaky ReLU."""
    if fuses(features, convolution):
        return _fused(convolution, features, then="leaky_relu")
    return activate(convolution(features))


def halves(convolution: nn.Conv3d, features: torch.Tensor) -> list[torch.Tensor]:
    """Apply a convolution, then the leaky ReLU, and split the channels in two.

    Two convolutions leave each half in memory of its own, where nothing has to gather it.
    """
    if not fuses(features, convolution):
        return list(activated(convolution, features).chunk(2, dim=1))
    assert convolution.bias is not None
    parts = zip(convolution.weight.chunk(2), convolution.bias.chunk(2), strict=True)
    return [_fused(convolution, features, part, then="leaky_relu") for part in parts]


def joined(
    convolution: nn.Conv3d, parts: Sequence[torch.Tensor], to: torch.Tensor | None = None
) -> torch.Tensor:
    """Apply a convolution to features given in parts, and add them ``to`` others.

    As a sum of one convolution for each part, they are not copied side by side.
    """
    if not fuses(parts[0], convolution):
        out: torch.Tensor = convolution(torch.cat(list(parts), dim=1))
        return out if to is None else to + out
    weights = torch.split(convolution.weight, [part.shape[1] for part in parts], dim=1)
    bias = convolution.bias
    for part, weight in zip(parts, weights, strict=True):
        to = _fused(convolution, part, (weight, bias), to=to)
        bias = None
    assert to is not None
    return to


def added(convolution: nn.Conv3d, features: torch.Tensor, to: torch.Tensor) -> torch.Tensor:
    """Apply a convolution, and add the result ``to`` other features."""
    return joined(convolution, [features], to)


def gated(features: torch.Tensor, convolution: nn.Conv3d, logits: torch.Tensor) -> torch.Tensor:
    """Features times the logistic function of a convolution; changed in place without gradients."""
    if fuses(features, convolution):
        return features.mul_(_fused(convolution, logits, then="sigmoid"))
    return features * torch.sigmoid(convolution(logits))


def pooled(features: torch.Tensor) -> torch.Tensor:
    """Mean of each cube of two voxels' edge: -> (B, C, I/2, J/2, K/2)."""
    if not fuses(features):
        return F.avg_pool3d(features, 2)
    channels = features.shape[1]
    weights = features.new_full((channels, 1, 2, 2, 2), 1 / 8)
    out: torch.Tensor = torch.ops.mkldnn._convolution_pointwise(
        features, weights, None, [0] * 3, [2] * 3, [1] * 3, channels, "none", [], ""
    )
    return out


def doubled(features: torch.Tensor) -> torch.Tensor:
    """Nearest-neighbour upsampling by two along each axis; a convolution follows it."""
    return F.interpolate(features, scale_factor=2.0, mode="nearest")


def plus_doubled(fine: torch.Tensor, coarse: torch.Tensor) -> torch.Tensor:
    """Sum with features of half the resolution, doubled."""
    if not fuses(fine):
        return fine + doubled(coarse)
    batch, channels, i, j, k = coarse.shape
    eights = fine.view(batch, channels, i, 2, j, 2, k, 2)
    total = eights + coarse.view(batch, channels, i, 1, j, 1, k, 1)
    return total.reshape(fine.shape)


def attend(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    """Softmax attention, (..., tokens, channels) each."""
    if fuses(query):
        return F.scaled_dot_product_attention(query, key, value)
    # As two batched products: on CPUs the fused kernel's backward pass is ten times slower.
    similarity = (query * query.shape[-1] ** -0.5) @ key.transpose(-1, -2)
    out: torch.Tensor = similarity.softmax(dim=-1).to(value.dtype) @ value
    return out


def fuses(features: torch.Tensor, layer: nn.Module | None = None) -> bool:
    """Whether features are computed on by oneDNN's fused kernels, as far as the layer has one."""
    traced = torch.jit.is_tracing()  # type: ignore[attr-defined, no-untyped-call]
    return (
        (layer is None or type(layer) is nn.Conv3d)
        and features.device.type == "cpu"
        and features.dtype == torch.float32
        and not torch.is_grad_enabled()
        and not torch.is_autocast_enabled("cpu")
        and not (traced or torch.compiler.is_compiling())
        and bool(torch.backends.mkldnn.enabled)
        and _has_fused_kernels()
    )


@cache
def _has_fused_kernels() -> bool:
    """Whether this PyTorch's fused kernels do as expected: they are no part of its promises."""
    convolution = nn.Conv3d(2, 2, 3, padding=1)
    features = torch.linspace(-1, 1, 54).view(1, 2, 3, 3, 3)
    with torch.no_grad():
        plain = convolution(features)
        wanted = F.leaky_relu(plain, NEGATIVE_SLOPE), plain.sigmoid(), features + plain
        try:
            found = (
                _fused(convolution, features, then="leaky_relu"),
                _fused(convolution, features, then="sigmoid"),
                _fused(convolution, features, to=features),
            )
        except (AttributeError, RuntimeError):  # missing, or built without oneDNN
            return False
    return all(torch.allclose(*pair, atol=1e-5) for pair in zip(found, wanted, strict=True))


def _fused(
    convolution: nn.Conv3d,
    features: torch.Tensor,
    part: tuple[torch.Tensor, torch.Tensor | None] | None = None,
    *,
    then: str = "none",
    to: torch.Tensor | None = None,
) -> torch.Tensor:
    """Apply a convolution, or a part of its weights and bias, with an activation or a sum."""
    weight, bias = part or (convolution.weight, convolution.bias)
    geometry = (
        convolution.padding,
        convolution.stride,
        convolution.dilation,
        convolution.groups,
    )
    kernel = torch.ops.mkldnn._convolution_pointwise
    out: torch.Tensor
    if to is None:
        numbers = [NEGATIVE_SLOPE] if then == "leaky_relu" else []
        out = kernel(features, weight, bias, *geometry, then, numbers, "")
    else:
        out = kernel.binary(features, to, weight, bias, *geometry, "add", 1.0, None, [], "")
    return out
