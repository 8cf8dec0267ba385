import gzip

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tdafd_cli.errors import VolumeError
from tdafd_cli.formats.streams import MOST_DEFLATED, check_claim, naming, read_stored, reading


@given(
    size=st.integers(0, 300),
    offset=st.integers(0, 100),
    shape=st.tuples(*[st.integers(1, 6)] * 3),
    volumes=st.integers(1, 3),
)
def test_a_plain_file_holds_what_is_claimed_or_is_cut_short(
    tmp_path_factory, size, offset, shape, volumes
):
    path = tmp_path_factory.mktemp("plain") / "file"
    path.write_bytes(bytes(size))
    fits = offset + np.prod(shape) * volumes <= size
    with path.open("rb") as stream:
        if fits:
            check_claim(shape, np.dtype("u1"), stream, offset=offset, volumes=volumes)
            return
        with pytest.raises(VolumeError, match=rf"cut short, with {max(0, size - offset)} of"):
            check_claim(shape, np.dtype("u1"), stream, offset=offset, volumes=volumes)


def test_zeros_compressed_as_far_as_can_be_are_no_false_claim(tmp_path):
    path = tmp_path / "zeros.gz"
    path.write_bytes(gzip.compress(bytes(1 << 24), 9))
    assert (1 << 24) / path.stat().st_size < MOST_DEFLATED
    with reading(path) as stream:
        check_claim((256, 256, 256), np.dtype("u1"), stream)
        assert not read_stored(stream, (256, 256, 256), np.dtype("u1"), offset=0).any()
        assert stream.seek(0) == 0
        with pytest.raises(VolumeError, match=r"claims 0\.134 GB .* than a compressed file of"):
            check_claim((256, 256, 256), np.dtype("f8"), stream)


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (FileNotFoundError(2, "x"), "no such file; check the name"),
        (PermissionError(13, "x"), "no permission to read it"),
        (OSError(5, "Input/output error"), "cannot be read: Input/output error"),
        (OSError("odd"), "cannot be read: odd"),
        (EOFError(), "gzip data cut short or damaged"),
        (VolumeError("flat"), "flat"),
    ],
)
def test_whatever_goes_wrong_names_the_file_once(tmp_path, error, message):
    path = tmp_path / "scan.nii"
    with pytest.raises(VolumeError) as caught, naming(path):
        raise error
    assert str(caught.value).startswith(f"{path}: {message}")
