"""Upsampling without learnt parts: TDAFD's windowed-sinc skip and its tail's pixel shuffle."""

import torch

from tdafd_cli.networks.autocast import without_autocast
from tdafd_cli.sampling.factors import Factors, factors_of
from tdafd_cli.sampling.matrices import apply_matrices, lanczos_matrix


def image_skip(low: torch.Tensor, scale: int | Factors) -> torch.Tensor:
    """Windowed-sinc upsampling in fp32: what the network only has to correct."""
    with without_autocast(low):
        matrices = [
            None if factor == 1 else lanczos_matrix(size, size * factor)
            for size, factor in zip(low.shape[2:], factors_of(scale), strict=True)
        ]
        return apply_matrices(low.float(), matrices)


def pixel_shuffle(features: torch.Tensor, scale: int | Factors) -> torch.Tensor:
    """Move channels into space: (B, s^3, I, J, K) -> (B, 1, sI, sJ, sK), or one axis alone."""
    batch, _, i, j, k = features.shape
    p, q, r = factors_of(scale)
    split = features.view(batch, p, q, r, i, j, k).permute(0, 4, 1, 5, 2, 6, 3)
    return split.reshape(batch, 1, p * i, q * j, r * k)
