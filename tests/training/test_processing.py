import numpy as np
import pytest
import torch

from tdafd_cli.training.processing import (
    SPIKE_HEIGHTS,
    as_probabilities,
    interpolated,
    labelled,
    quantised,
    random_artefact,
    random_processing,
    smoothed,
    synthetic,
    thresholded,
    zero_filled,
)

KINDS = (
    smoothed,
    zero_filled,
    interpolated,
    thresholded,
    labelled,
    as_probabilities,
    quantised,
    synthetic,
)


def head(seed: int = 0) -> torch.Tensor:
    """A ball with some texture, in the dark."""
    edge = torch.linspace(-1, 1, 40)
    radius = (edge[:, None, None] ** 2 + edge[:, None] ** 2 + edge**2).sqrt()
    noise = torch.rand(radius.shape, generator=torch.Generator().manual_seed(seed))
    return (radius < 0.8) * (0.6 + 0.4 * noise)


def roughness(volume: torch.Tensor) -> float:
    return float(volume.diff(dim=0).square().mean())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", range(4))
def test_a_processed_volume_is_of_the_same_shape_and_range(kind, seed):
    volume = head()
    before = volume.clone()
    result = kind(volume, 2, np.random.default_rng(seed))
    assert (result.shape, result.dtype) == (volume.shape, torch.float32)
    assert torch.equal(volume, before)
    assert -0.2 < float(result.min()) <= float(result.max()) < 1.4


@pytest.mark.parametrize("kind", [smoothed, zero_filled, interpolated])
def test_smoothing_and_interpolation_take_detail(kind):
    for seed in range(4):
        assert roughness(kind(head(), 2, np.random.default_rng(seed))) < 0.9 * roughness(head())


def test_masks_labels_and_levels_have_few_values():
    rng = np.random.default_rng(0)
    assert thresholded(head(), 2, rng).unique().tolist() == [0, 1]
    assert len(labelled(head(), 2, rng).unique()) <= 7
    assert len(quantised(head(), 2, rng).unique()) <= 65


def test_every_kind_is_drawn():
    rng = np.random.default_rng(0)
    drawn = {round(float(random_processing(head(), 3, rng).double().sum()), 3) for _ in range(40)}
    assert len(drawn) > 25


def test_an_artefact_is_spikes_or_lost_slices():
    low = head() + 0.01
    kinds = set()
    for seed in range(12):
        result = random_artefact(low, np.random.default_rng(seed))
        changed = result != low
        if result.max() > low.max():
            kinds.add("spikes")
            assert 0 < changed.sum() < 1e-3 * low.numel()
            assert SPIKE_HEIGHTS[0] <= result.max() / low.max() <= SPIKE_HEIGHTS[1]
        else:
            kinds.add("slices")
            assert result[changed].unique().tolist() == [0]
            assert changed.sum() >= 40 * 40
    assert kinds == {"spikes", "slices"}
