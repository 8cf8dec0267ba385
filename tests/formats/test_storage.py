import io

import numpy as np
import pytest
from drawn_volumes import STORED, random_stored
from hypothesis import given
from hypothesis import strategies as st

from tdafd_cli.errors import VolumeError
from tdafd_cli.formats.storage import (
    intensities,
    intensity_dtype,
    storage_scaling,
    to_stored,
    write_stored,
)

INTEGERS = ("int8", "uint8", "int16", "uint16", "int32")


@pytest.mark.parametrize("dtype", STORED)
@pytest.mark.parametrize("depth", [1, 16, 37])
def test_numbers_become_intensities_and_numbers_again(dtype, depth):
    stored = random_stored(dtype, (3, 2, depth))
    again = to_stored(intensities(stored), np.dtype(dtype))
    if np.dtype(dtype).itemsize < 8 or np.dtype(dtype).kind == "f":
        np.testing.assert_array_equal(again, stored)
    sink = io.BytesIO()
    write_stored(sink, intensities(stored), np.dtype(dtype))
    assert sink.getvalue() == again.tobytes(order="F")


@given(
    low=st.floats(-1e6, 1e6),
    width=st.floats(1e-3, 1e6),
    dtype=st.sampled_from(INTEGERS),
    source=st.sampled_from(("float32", *INTEGERS)),
    slope=st.sampled_from([1.0, 0.25, -3.5]),
)
def test_intensities_fit_or_unscaled_integers_are_clipped(low, width, dtype, source, slope):
    dtype, source, high = np.dtype(dtype), np.dtype(source), low + width
    scaling = storage_scaling(dtype, (low, high), source_dtype=source, source_scaling=(slope, 0.0))
    data = np.linspace(low, high, 30).reshape(2, 3, 5)
    sink = io.BytesIO()
    write_stored(sink, data, dtype, *scaling)
    again = np.frombuffer(sink.getvalue(), dtype).reshape(data.shape, order="F").astype(float)
    again = again * scaling[0] + scaling[1]
    if scaling == (1, 0) and source.kind in "iu" and dtype == source:
        limits = np.iinfo(dtype)
        data = np.clip(data, limits.min, limits.max)
    np.testing.assert_allclose(again, data, atol=0.51 * abs(scaling[0]) + 1e-6 * abs(data).max())


def test_the_type_of_a_part_holds_it():
    assert intensity_dtype(np.dtype("c8"), "real") == np.float32
    assert intensity_dtype(np.dtype("c16"), "imaginary") == np.float64
    assert intensity_dtype(np.dtype(">i2"), None) == np.dtype(">i2")
    with pytest.raises(VolumeError, match="one number per voxel, got a colour"):
        intensity_dtype(np.dtype([("R", "u1"), ("G", "u1")]), None)


def test_scaling_comes_before_the_part():
    stored = np.full((1, 1, 1), 3 + 4j, np.complex64)
    assert intensities(stored, 2.0, 0.0, "magnitude").item() == 10
    assert intensities(stored, 1.0, -3.0, "magnitude").item() == 4
