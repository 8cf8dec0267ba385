import numpy as np

from tdafd_cli.errors import size_text


def test_long_axes_are_counted_in_full():
    assert size_text((12345, np.int64(100_000), 7)) == "12345 x 100000 x 7"


def test_lengths_are_rounded_to_some_digits():
    assert size_text((1.0, np.float32(0.5), 2.00649)) == "1 x 0.5 x 2.006"
    assert size_text((1.0, 0.5, 2.00649), digits=3) == "1 x 0.5 x 2.01"
