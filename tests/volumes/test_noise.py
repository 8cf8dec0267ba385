import numpy as np
import pytest

from tdafd_cli.volumes.noise import noise_level


@pytest.mark.parametrize("sigma", [0.01, 0.05, 0.1])
def test_white_noise_is_measured(sigma):
    rng = np.random.default_rng(0)
    assert noise_level(0.5 + rng.normal(0, sigma, (40, 40, 40))) == pytest.approx(sigma, rel=0.03)


def test_gradients_are_not_noise():
    i, j, k = np.meshgrid(*(np.linspace(0, 1, 30),) * 3, indexing="ij")
    assert noise_level(0.3 + i * j + k) < 1e-3


@pytest.mark.parametrize("shape", [(1, 30, 30), (1, 1, 1)])
def test_a_slice_tells_nothing(shape):
    assert noise_level(np.ones(shape)) == 0


def test_air_tells_nothing():
    assert noise_level(np.zeros((9, 9, 9))) == 0
