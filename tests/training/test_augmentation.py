import numpy as np
import pytest
import torch

from tdafd_cli.training.augmentation import (
    ContrastSettings,
    bias_field,
    random_contrast,
    random_symmetry,
    remapped,
    transformed,
)


def test_all_symmetries_of_the_cube_occur():
    rng = np.random.default_rng(0)
    patch = torch.arange(27.0).view(3, 3, 3)
    seen = {tuple(transformed(patch, random_symmetry(rng)).flatten().tolist()) for _ in range(2000)}
    assert len(seen) == 48


def test_a_symmetry_moves_low_and_high_alike():
    rng = np.random.default_rng(1)
    low = torch.rand((4, 4, 4), generator=torch.Generator().manual_seed(0))
    high = low.repeat_interleave(2, 0).repeat_interleave(2, 1).repeat_interleave(2, 2)
    for _ in range(20):
        symmetry = random_symmetry(rng)
        turned = transformed(low, symmetry)
        expected = turned.repeat_interleave(2, 0).repeat_interleave(2, 1).repeat_interleave(2, 2)
        torch.testing.assert_close(transformed(high, symmetry), expected)


def test_remapping_goes_through_its_knots():
    values = torch.tensor([-0.5, 0.0, 0.1, 0.2, 0.6, 1.0, 1.5])
    mapped = remapped(values, np.array([0.8, 0.4, 0.9]))
    torch.testing.assert_close(mapped, torch.tensor([0, 0, 0.4, 0.8, 0.4, 0.9, 0.9]))


def test_bias_field_is_smooth_and_bounded():
    field = bias_field((32, 24, 16), np.random.default_rng(0).uniform(-1, 1, (3, 3, 3)))
    assert field.shape == (32, 24, 16)
    assert float(field.abs().max()) == pytest.approx(1.0)
    assert float(field.diff(dim=0).abs().max()) < 0.3


def test_contrast_keeps_air_dark_and_repeats_with_its_seed():
    settings = ContrastSettings(1.0, 0.5, 0.5, 1.0, 0.3)
    volume = torch.zeros((8, 8, 8))
    volume[2:6, 2:6, 2:6] = 0.7
    for seed in range(10):
        first = random_contrast(volume, np.random.default_rng(seed), settings)
        second = random_contrast(volume, np.random.default_rng(seed), settings)
        torch.testing.assert_close(first, second)
        assert float(first[0].abs().max()) == 0
        assert not torch.equal(first, volume)


def test_contrast_can_be_left_alone():
    settings = ContrastSettings(0.0, 0.5, 0.0, 0.0, 0.3)
    volume = torch.rand((4, 4, 4), generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(random_contrast(volume, np.random.default_rng(0), settings), volume)
