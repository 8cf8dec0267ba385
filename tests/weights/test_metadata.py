import json
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tdafd_cli.errors import WeightsError
from tdafd_cli.weights.metadata import from_text, read_metadata, to_text

ABOUT = {"format": "tdafd-2", "architecture": "TDAFD", "recipe": '{"seed": 3}', "licence": "CC0"}
TENSOR = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}


def weights_file(path, header, *, length=None, tensors=bytes(8)):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    length = len(text) if length is None else length
    path.write_bytes(length.to_bytes(8, "little") + text + tensors)
    return path


def test_metadata_are_read_as_values(tmp_path):
    path = weights_file(tmp_path / "net.safetensors", {"__metadata__": ABOUT, "a": TENSOR})
    metadata = read_metadata(path)
    assert metadata["recipe"] == {"seed": 3}
    assert metadata["licence"] == "CC0"


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
        max_leaves=8,
    )
)
def test_every_value_survives_as_text(value):
    assert from_text(to_text(value)) == value


@pytest.mark.parametrize("text", ["[" * 100_000, "9" * 5000, "{", ""])
def test_text_that_breaks_json_readers_stays_text(text):
    assert from_text(text) == text


MALICIOUS = {
    "header longer than the file": ({"a": TENSOR}, {"length": 1 << 20}),
    "header of an exabyte": ({"a": TENSOR}, {"length": 1 << 60}),
    "header of no length": ({"a": TENSOR}, {"length": 0}),
    "header that is not JSON": (b"\x80\x04pickle  ", {}),
    "header that is not an object": (b"[1, 2, 3]", {}),
    "header nested too deep": (b'{"a":' * 50_000, {}),
    "offsets beyond the file": ({"a": TENSOR | {"data_offsets": [0, 1 << 40]}}, {}),
    "offsets that run backwards": ({"a": TENSOR | {"data_offsets": [8, 0]}}, {}),
    "offsets that are negative": ({"a": TENSOR | {"data_offsets": [-8, 0]}}, {}),
    "offsets that overlap": ({"a": TENSOR, "b": TENSOR}, {}),
    "offsets that fit no shape": ({"a": TENSOR | {"shape": [3]}}, {}),
    "shape that overflows": ({"a": TENSOR | {"shape": [1 << 40, 1 << 40]}}, {}),
    "bytes that belong to no tensor": ({"a": TENSOR}, {"tensors": bytes(99)}),
    "metadata that are not text": ({"__metadata__": {"format": {}}, "a": TENSOR}, {}),
}


@pytest.mark.parametrize("kind", MALICIOUS)
def test_malicious_header_is_refused_in_one_line(tmp_path, kind):
    header, options = MALICIOUS[kind]
    path = weights_file(tmp_path / "net.safetensors", header, **options)
    with pytest.raises(WeightsError, match=r"not a whole safetensors file: ") as caught:
        read_metadata(path)
    assert "\n" not in str(caught.value)


def test_malicious_header_takes_no_memory(tmp_path):
    resource = pytest.importorskip("resource")
    path = weights_file(tmp_path / "net.safetensors", {"a": TENSOR}, length=1 << 36)
    os.truncate(path, 1 << 37)  # sparse: takes no disk
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(WeightsError, match="not a whole safetensors file"):
        read_metadata(path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # KiB


def test_other_programs_weights_are_told(tmp_path):
    path = weights_file(tmp_path / "net.safetensors", {"a": TENSOR})
    with pytest.raises(WeightsError, match="not weights of this program: format None"):
        read_metadata(path)


def test_missing_file_and_folder_are_told(tmp_path):
    with pytest.raises(WeightsError, match=r"none\.safetensors: cannot read weights: No such file"):
        read_metadata(tmp_path / "none.safetensors")
    with pytest.raises(WeightsError, match="cannot read weights: "):
        read_metadata(tmp_path)
