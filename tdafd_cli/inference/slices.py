"""Slices: a volume turned for a network that makes one axis finer, and turned back."""

from dataclasses import replace
from typing import TypeVar

import torch
from torch import Tensor

from tdafd_cli.inference.execution import Execution
from tdafd_cli.inference.prediction import predict_volume
from tdafd_cli.inference.settings import InferenceSettings
from tdafd_cli.inference.tiling import Progress
from tdafd_cli.networks.tdafd import TDAFD
from tdafd_cli.sampling.matrices import apply_matrices, centred_matrix
from tdafd_cli.sampling.plan import Plan
from tdafd_cli.sampling.spectrum import spectral_falloff

Number = TypeVar("Number", int, float)


def predict_along(
    network: TDAFD,
    low: Tensor,
    axis: int,
    settings: InferenceSettings | None = None,
    progress: Progress | None = None,
    zero: float | None = None,
) -> tuple[Tensor, Execution]:
    """Upscale a volume (I, J, K) by a network for one axis, along any of them.

    As `predict_volume`, which takes volumes with that axis last; what it says of how the result was
    made is turned back too.
    """
    turned = low.movedim(axis, 2).contiguous()
    high, execution = predict_volume(network, turned, settings, progress, zero)
    order = _order_back(axis)
    if execution.trust is not None:
        trust = execution.trust
        trust = replace(
            trust,
            excess=_reordered(trust.excess, order),
            resolution=_reordered(trust.resolution, order),
        )
        execution = replace(execution, trust=trust)
    tile = _reordered(execution.tile, order) if execution.tile else ()
    return high.movedim(2, axis).contiguous(), replace(execution, tile=tile)


def _order_back(axis: int) -> tuple[int, ...]:
    """For each axis of the file, where it lies once ``axis`` was brought last."""
    turned = [each for each in range(3) if each != axis] + [axis]
    return tuple(turned.index(each) for each in range(3))


def _reordered(values: tuple[Number, ...], order: tuple[int, ...]) -> tuple[Number, ...]:
    return tuple(values[place] for place in order)


def softest_axis(low: Tensor) -> int:
    """Axis along which a volume's power falls the deepest towards Nyquist."""
    falloff = spectral_falloff(low[None, None])[0].mean(dim=1)
    return int(falloff.argmin())


def resampled(high: Tensor, plan: Plan) -> Tensor:
    """A network's result on the grid that was asked for, within its own least and greatest value.

    Parameters
    ----------
    high : (fI, fJ, fK) tensor
        With f the plan's factors.
    plan : Plan
    """
    if plan.exact:
        return high
    axes = zip(high.shape, plan.shape, plan.steps, strict=True)
    matrices = [None if step == 1 else centred_matrix(n, m, step) for n, m, step in axes]
    lowest, highest = torch.aminmax(high)
    return apply_matrices(high, matrices).clamp_(lowest, highest)
