from dataclasses import replace

import numpy as np
import pytest
import torch

from tdafd_cli.training.dataset import DatasetSettings, drawn_volume, make_pair
from tdafd_cli.training.synthetic import (
    NOISE_MAXIMUM,
    SyntheticSettings,
    dead_leaves,
    invented_contrast,
    synthetic_volume,
)
from tdafd_cli.training.volumes import TrainingVolume

SMALL = SyntheticSettings(probability=1.0, edge=40, pairs=2)


def test_volumes_depend_on_seed_and_number_alone_and_serve_several_pairs():
    first = synthetic_volume(SMALL, 3, 4)
    for number in range(20):  # more than are remembered
        synthetic_volume(SMALL, 4, number)
    assert torch.equal(synthetic_volume(SMALL, 3, 5), first)
    assert not torch.equal(synthetic_volume(SMALL, 3, 6), first)
    assert not torch.equal(synthetic_volume(SMALL, 4, 4), first)


@pytest.mark.parametrize("seed", range(3))
def test_dead_leaves_are_sharp_and_fill_the_range(seed):
    volume = dead_leaves(48, np.random.default_rng(seed))
    assert volume.dtype == np.float32
    assert volume.shape == (48, 48, 48)
    assert volume.min() >= 0
    assert volume.max() < 1.3
    assert np.ptp(volume) > 0.3
    # Borders are about a voxel wide: some neighbours differ by half of the range and more.
    steps = np.abs(np.diff(volume, axis=0))
    assert steps.max() > 0.5 * np.ptp(volume)
    assert np.median(steps) < 0.1 * np.ptp(volume)


def test_some_volumes_are_a_body_in_empty_space():
    settings = replace(SMALL, air=1.0, noise=0.0)
    volume = synthetic_volume(settings, 0, 0)
    assert volume[0, 0, 0] == 0
    assert float(volume[15:25, 15:25, 15:25].mean()) > 0.03


def test_noise_is_as_strong_as_said():
    quiet = synthetic_volume(replace(SMALL, noise=0.0, air=1.0), 1, 0)
    noisy = synthetic_volume(replace(SMALL, noise=1.0, air=1.0), 1, 0)
    air = quiet == 0
    assert 0 < float(noisy[air].mean()) < 3 * NOISE_MAXIMUM


def test_labels_get_even_classes_of_random_contrast():
    labels = torch.zeros((24, 24, 24), dtype=torch.int32)
    labels[6:18, 6:18, 6:18] = 17
    labels[10:14, 10:14, 10:14] = 4
    means = set()
    for seed in range(4):
        volume = invented_contrast(labels, np.random.default_rng(seed))
        assert volume.shape == labels.shape
        assert volume.min() >= 0
        core, shell = volume[11:13, 11:13, 11:13], volume[7:9, 8:16, 8:16]
        assert float(shell.std()) < 0.1
        means.add(round(float(core.mean() - shell.mean()), 3))
    assert len(means) == 4


def test_pairs_come_from_synthetic_volumes_as_often_as_asked():
    volumes = [TrainingVolume(torch.rand(40, 40, 40), (1.0,) * 3, 1.0, (0.0,))]
    for probability in (0.0, 1.0):
        settings = DatasetSettings(patch=16, synthetic=replace(SMALL, probability=probability))
        pair = make_pair(volumes, settings, 2, seed=7, index=2)
        assert pair.high.shape[0] in (38, 40)
        other = make_pair([replace(volumes[0], data=volumes[0].data + 1)], settings, 2, 7, 2)
        assert torch.equal(pair.high, other.high) == (probability == 1.0)


def test_label_maps_are_painted_in_boxes():
    labels = torch.randint(0, 5, (140, 36, 34), dtype=torch.int32)
    volume = TrainingVolume(labels, (1.0,) * 3, 1.0, (0.0,), labels=True)
    rng = np.random.default_rng(0)
    settings = DatasetSettings(patch=16)
    for _ in range(5):
        drawn = drawn_volume([volume], settings, (32, 32, 32), rng)
        assert 32 <= drawn.shape[0] <= 128
        assert drawn.is_floating_point()
