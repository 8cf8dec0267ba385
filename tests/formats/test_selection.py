import pytest
from hypothesis import given
from hypothesis import strategies as st

from tdafd_cli.errors import VolumeError
from tdafd_cli.formats.selection import Selection

ENDS = st.none() | st.integers(-12, 12)


@given(first=ENDS, last=ENDS, step=st.none() | st.integers(1, 4), count=st.integers(1, 9))
def test_slices_are_those_of_python(first, last, step, count):
    words = ["" if end is None else str(end) for end in (first, last)]
    text = ":".join(words + ([] if step is None else [str(step)]))
    expected = list(range(count))[first:last:step]
    if expected:
        assert list(Selection(volumes=text).numbers(count)) == expected
        return
    with pytest.raises(VolumeError, match=r"no volume .* among"):
        Selection(volumes=text).numbers(count)


@pytest.mark.parametrize(("text", "expected"), [("0", [0]), ("2", [2]), ("-1", [2]), ("-3", [0])])
def test_a_number_is_one_volume(text, expected):
    assert list(Selection(volumes=text).numbers(3)) == expected


@pytest.mark.parametrize("text", ["3", "-4", "99", "::0"])
def test_volumes_that_are_not_there_are_told(text):
    with pytest.raises(VolumeError, match=f"no volume {text} among 3, counted from 0"):
        Selection(volumes=text).numbers(3)


@pytest.mark.parametrize("text", ["", "a", "1:2:3:4", "1,2", "::-1"])
def test_what_is_no_slice_is_the_callers_mistake(text):
    with pytest.raises(ValueError, match="a number or like 0:10"):
        Selection(volumes=text)
