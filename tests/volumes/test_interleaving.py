import numpy as np
import pytest

from tdafd_cli.volumes.interleaving import interleaving


def volume(shape=(24, 22, 20), *, gain=1.0, axis=2, seed=0):
    """A ball of tissue whose odd slices are brighter."""
    rng = np.random.default_rng(seed)
    axes = np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij")
    ball = (sum(x**2 for x in axes) < 0.9) * (100 + 20 * axes[0] + rng.normal(0, 3, shape))
    np.moveaxis(ball, axis, 0)[1::2] *= gain
    return ball


@pytest.mark.parametrize("axis", range(3))
@pytest.mark.parametrize("gain", [0.9, 0.95, 1.06, 1.2])
def test_brighter_odd_slices_are_found_along_their_axis(axis, gain):
    data = volume(gain=gain, axis=axis)
    found = interleaving(data, axis)
    assert found
    assert found.difference == pytest.approx(gain - 1, abs=0.02)
    assert not any(interleaving(data, other) for other in range(3) if other != axis)


def test_alike_slices_are_not_told_apart():
    assert not any(interleaving(volume(seed=seed), 2) for seed in range(5))


def test_brightness_that_drifts_is_none():
    drifting = volume() * np.linspace(0.5, 1.5, 20)
    assert not interleaving(drifting, 2)


@pytest.mark.parametrize("shape", [(24, 22, 7), (3, 3, 20)])
def test_too_few_slices_or_voxels_tell_nothing(shape):
    assert not interleaving(volume(shape, gain=1.3), 2)
