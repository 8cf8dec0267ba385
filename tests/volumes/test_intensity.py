import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tdafd_cli.volumes.intensity import (
    IntensityRange,
    denormalise,
    integer_limits,
    intensity_range,
    normalise,
    spanning_scaling,
    to_dtype,
)

INTEGERS = ("int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64")


def random_data(seed: int, size: int = 4096) -> np.ndarray:
    return np.random.default_rng(seed).gamma(2, 100, size=size).astype(np.float32)


def test_range_leaves_out_one_voxel_in_a_thousand_at_each_end():
    limits = intensity_range(np.arange(10_001.0))
    assert (limits.low, limits.high) == pytest.approx((10, 9990))


def test_a_spike_does_not_change_the_range_much():
    data = random_data(0)
    spiked = data.copy()
    spiked[0] = 1e9
    assert intensity_range(spiked).high == pytest.approx(intensity_range(data).high, rel=0.2)


def test_range_of_a_small_object_in_an_empty_field_is_its_extremes():
    data = np.zeros((20, 20, 20))
    data[0, 0, :2] = 3, 7
    assert intensity_range(data) == IntensityRange(0.0, 7.0)


def test_constant_data_has_an_empty_range_and_normalises_to_zero():
    data = np.full((2, 3, 4), 7.5)
    limits = intensity_range(data)
    assert limits == IntensityRange(7.5, 7.5)
    assert not normalise(data, limits).any()
    np.testing.assert_array_equal(denormalise(normalise(data, limits), limits), data)


def test_ends_of_the_range_become_zero_and_one_and_the_rest_is_not_clipped():
    limits = IntensityRange(-10.0, 30.0)
    normal = normalise(np.array([-10, 30, 10, -50, 110], dtype=np.int16), limits)
    assert normal.dtype == np.float32
    assert normal.tolist() == [0, 1, 0.5, -1, 3]


@given(seed=st.integers(0, 99), gain=st.floats(0.01, 100), offset=st.floats(-1e4, 1e4))
def test_network_units_do_not_depend_on_the_scanner_units(seed, gain, offset):
    data = random_data(seed).astype(np.float64)
    other = data * gain + offset
    np.testing.assert_allclose(
        normalise(other, intensity_range(other)), normalise(data, intensity_range(data)), atol=1e-5
    )


@given(seed=st.integers(0, 99), gain=st.floats(1e-3, 1e3), offset=st.floats(-1e3, 1e3))
def test_denormalise_undoes_normalise(seed, gain, offset):
    data = random_data(seed) * np.float32(gain) + np.float32(offset)
    limits = intensity_range(data)
    again = denormalise(normalise(data, limits), limits)
    assert again.dtype == np.float32
    np.testing.assert_allclose(again, data, atol=1e-6 * np.abs(data).max())


def test_integers_are_rounded_to_the_nearest():
    assert to_dtype(np.array([-1.6, -0.4, 0.6, 41.9]), "int16").tolist() == [-2, 0, 1, 42]


@pytest.mark.parametrize("dtype", INTEGERS)
def test_integers_are_clipped_and_never_wrap_round(dtype):
    data = np.array([-1e30, -1e10, 0, 1e10, 1e30], dtype=np.float32)
    stored = to_dtype(data, dtype)
    assert stored.dtype == dtype
    assert (np.diff(stored.astype(np.float64)) >= 0).all()
    lowest, highest = integer_limits(dtype)
    assert stored[0] == lowest
    assert stored[-1] == pytest.approx(highest, rel=1e-15)


@pytest.mark.parametrize("dtype", ["int32", "uint32"])
def test_the_largest_integer_is_reached_although_float32_has_it_not(dtype):
    assert to_dtype(np.array([np.finfo(np.float32).max]), dtype)[0] == np.iinfo(dtype).max


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_floats_are_only_converted(dtype):
    assert (
        to_dtype(np.array([-1.5, 1e30]), dtype).tolist() == np.array([-1.5, 1e30], dtype).tolist()
    )


@given(
    low=st.floats(-1e4, 1e4),
    width=st.floats(1.0, 1e5),
    dtype=st.sampled_from(["int8", "uint8", "int16", "uint16"]),
)
def test_a_spanning_scaling_uses_all_integers_and_moves_no_intensity_by_over_half_a_slope(
    low, width, dtype
):
    data = np.linspace(low, low + width, 1001)
    slope, intercept = spanning_scaling(data[0], data[-1], dtype)
    assert (slope, intercept) == (np.float32(slope), np.float32(intercept))
    stored = to_dtype((data - intercept) / slope, dtype).astype(np.float64)
    np.testing.assert_allclose(stored * slope + intercept, data, rtol=0, atol=0.51 * slope)
    lowest, highest = integer_limits(dtype)
    assert stored[-1] - stored[0] > 0.9 * (highest - lowest)


def test_a_spanning_scaling_of_one_intensity_gives_it_back():
    slope, intercept = spanning_scaling(7.5, 7.5, "int16")
    stored = to_dtype((np.array([7.5]) - intercept) / slope, "int16")
    assert stored[0] * slope + intercept == pytest.approx(7.5)
