import contextlib
import hashlib
import json
import pickle
import threading
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load, save, save_file

from tdafd_cli.errors import OutputError, WeightsError
from tdafd_cli.networks.tdafd import TDAFD, TDAFDConfig
from tdafd_cli.weights.file import read_weights, save_weights

CONFIG = TDAFDConfig(
    scale=3, channels=4, modules=2, attention_channels=2, token_channels=4, heads=1
)


@pytest.fixture
def network() -> TDAFD:
    torch.manual_seed(0)
    network = TDAFD(CONFIG)
    for parameter in network.parameters():  # the fresh network's last layer is zero
        torch.nn.init.normal_(parameter, std=0.1)
    return network.eval()


@pytest.fixture
def saved(tmp_path, network):
    path = tmp_path / "mine.safetensors"
    save_weights(path, network, {"seed": 3})
    return path


def resave(path, *, state=None, **about):
    """Write a weights file again with another state, or other raw metadata."""
    content = path.read_bytes()
    length = int.from_bytes(content[:8], "little")
    metadata = json.loads(content[8 : 8 + length])["__metadata__"] | about
    metadata.pop("checksum", None)
    save_file(load(content) if state is None else state, path, metadata)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


def test_loaded_network_predicts_what_the_saved_one_did(saved, network):
    low = torch.rand(1, 1, 5, 4, 3)
    loaded = read_weights(saved)
    rebuilt = loaded.network()
    with torch.no_grad():
        assert torch.equal(rebuilt(low), network(low))
    assert not rebuilt.training
    assert (loaded.name, loaded.path, loaded.scale) == ("mine", saved, 3)
    assert loaded.config == CONFIG


def test_each_network_built_from_weights_is_its_own(saved):
    weights = read_weights(saved)
    first = weights.network()
    with torch.no_grad():
        first.head.weight.zero_()
    assert weights.network().head.weight.abs().sum() > 0


@settings(max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    about=st.dictionaries(st.text(), json_values, max_size=4) | json_values.map(lambda v: {"n": v})
)
def test_metadata_come_back_as_they_were(tmp_path, network, about):
    path = tmp_path / "about.safetensors"
    save_weights(path, network, about)
    assert {**read_weights(path).metadata, **about} == read_weights(path).metadata


def test_plain_text_in_the_metadata_stays_readable(tmp_path, network):
    path = tmp_path / "about.safetensors"
    save_weights(path, network, {"licence": "CC-BY 4.0", "format": "overruled"})
    content = path.read_bytes()
    length = int.from_bytes(content[:8], "little")
    metadata = json.loads(content[8 : 8 + length])["__metadata__"]
    assert metadata["licence"] == "CC-BY 4.0"
    assert metadata["format"] == "tdafd-2"
    assert metadata["architecture"] == "TDAFD"
    assert json.loads(metadata["config"]) == CONFIG.to_dict()


def test_hash_is_that_of_the_file(saved):
    assert read_weights(saved).sha256 == hashlib.sha256(saved.read_bytes()).hexdigest()


def test_saving_replaces_the_file_as_a_whole(saved, network, tmp_path):
    before = saved.read_bytes()
    seen = set()
    done = threading.Event()

    def watch():
        while not done.is_set():
            seen.add(saved.read_bytes())

    watcher = threading.Thread(target=watch)
    watcher.start()
    for _ in range(8):
        save_weights(saved, network, {"seed": 4})
    done.set()
    watcher.join()
    assert seen <= {before, saved.read_bytes()}
    assert [path.name for path in tmp_path.iterdir()] == ["mine.safetensors"]


def test_equal_weights_make_equal_files(saved, network):
    before = saved.read_bytes()
    for _ in range(10):
        save_weights(saved, network, {"seed": 3})
        assert saved.read_bytes() == before


def test_saving_where_it_cannot_be_leaves_nothing_behind(tmp_path, network):
    taken = tmp_path / "folder.safetensors"
    taken.mkdir()
    with pytest.raises(
        OutputError, match=r"folder\.safetensors: cannot be written: Is a directory"
    ):
        save_weights(taken, network, {})
    with pytest.raises(OutputError, match=r"no/net\.safetensors: cannot be written: No such file"):
        save_weights(tmp_path / "no" / "net.safetensors", network, {})
    assert list(tmp_path.iterdir()) == [taken]


def test_saving_under_another_suffix_is_a_mistake(tmp_path, network):
    with pytest.raises(ValueError, match=r"net\.pt: weights are kept as \.safetensors"):
        save_weights(tmp_path / "net.pt", network, {})


def test_missing_file_is_told():
    with pytest.raises(WeightsError, match=r"none\.safetensors: cannot read weights: No such file"):
        read_weights(Path("none.safetensors"))


def test_pickle_in_disguise_is_not_opened_as_one(tmp_path):
    path = tmp_path / "net.safetensors"
    path.write_bytes(pickle.dumps({"weight": [1.0] * 100}))
    with pytest.raises(WeightsError, match="not a whole safetensors file"):
        read_weights(path)


@pytest.mark.parametrize("kept", [0, 5, 100, -1])
def test_truncated_file_is_told(saved, kept):
    saved.write_bytes(saved.read_bytes()[:kept])
    with pytest.raises(WeightsError, match=r"mine\.safetensors: not a whole safetensors file: "):
        read_weights(saved)


def test_other_programs_weights_are_told(tmp_path):
    path = tmp_path / "other.safetensors"
    path.write_bytes(save({"weight": torch.zeros(3)}))
    with pytest.raises(WeightsError, match="not weights of this program: format None"):
        read_weights(path)


def test_later_format_is_told(saved):
    resave(saved, format="tdafd-3")
    with pytest.raises(WeightsError, match="format 'tdafd-3' instead of 'tdafd-2'"):
        read_weights(saved)


@pytest.mark.parametrize(
    "config",
    [
        '{"depth": 3}',
        '{"heads": 0}',
        '{"channels": "many"}',
        '{"channels": -4}',
        '{"modules": 1000000000}',
        '{"window": 1000000}',
        '{"window": 0}',
        '{"scale": null}',
        "[]",
        "what",
        "[" * 100_000,
    ],
)
def test_unusable_configuration_is_told(saved, config):
    resave(saved, config=config)
    with pytest.raises(WeightsError, match="unusable network configuration: ") as caught:
        read_weights(saved)
    assert "\n" not in str(caught.value)


def test_missing_strange_and_misshapen_tensors_are_told(saved, network):
    state = {name: value.clone() for name, value in network.state_dict().items()}
    head = state.pop("head.weight")
    resave(saved, state=state)
    with pytest.raises(WeightsError, match=r"1 tensors .* head\.weight: none instead of \(4, 1,"):
        read_weights(saved)
    resave(saved, state={**state, "head.weight": head[:2].contiguous()})
    with pytest.raises(WeightsError, match=r"head\.weight: \(2, 1, 3, 3, 3\) instead of \(4, 1,"):
        read_weights(saved)
    resave(saved, state={**state, "head.weight": head, "extra": torch.zeros(2)})
    with pytest.raises(WeightsError, match=r"extra: \(2,\) instead of none"):
        read_weights(saved)


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_values_that_are_not_finite_are_told(saved, network, value):
    state = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    state["head.bias"][1] = value
    resave(saved, state=state)
    with pytest.raises(WeightsError, match=r"head\.bias holds values that are not finite"):
        read_weights(saved)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(position=st.floats(0, 1, exclude_max=True), byte=st.integers(0, 255))
def test_damaged_byte_gives_weights_or_a_weights_error(saved, position, byte):
    content = bytearray(saved.read_bytes())
    length = 8 + int.from_bytes(content[:8], "little")
    content[int(position * length)] = byte
    damaged = saved.with_name("damaged.safetensors")
    damaged.write_bytes(content)
    with contextlib.suppress(WeightsError):
        assert read_weights(damaged).scale in (2, 3, 4)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40)
@given(data=st.data())
def test_a_flipped_bit_is_refused_wherever_it_is(saved, data):
    content = saved.read_bytes()
    place = data.draw(st.integers(0, 8 * len(content) - 1))
    flipped = bytearray(content)
    flipped[place // 8] ^= 1 << place % 8
    path = saved.with_name("flipped.safetensors")
    path.write_bytes(flipped)
    with pytest.raises(WeightsError, match=r"flipped\.safetensors: "):
        read_weights(path)


def test_files_of_older_versions_have_no_checksum_and_load(saved):
    numbers = read_weights(saved).state
    resave(saved)
    assert b"checksum" not in saved.read_bytes()
    assert all(
        torch.equal(value, numbers[name]) for name, value in read_weights(saved).state.items()
    )
