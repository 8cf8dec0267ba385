import contextlib
import hashlib
import json
import pickle
import threading
from dataclasses import replace

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load, save, save_file

from tdafd_cli.errors import OutputError, WeightsError
from tdafd_cli.networks.tdafd import TDAFD, TDAFDConfig
from tdafd_cli.weights.registry import read_registry
from tdafd_cli.weights.store import bundled_names, default_name, load_weights, save_weights

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
    save_file(load(content) if state is None else state, path, metadata)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


def test_loaded_network_predicts_what_the_saved_one_did(saved, network):
    low = torch.rand(1, 1, 5, 4, 3)
    loaded = load_weights(saved, scale=3)
    rebuilt = loaded.network()
    with torch.no_grad():
        assert torch.equal(rebuilt(low), network(low))
    assert not rebuilt.training
    assert (loaded.name, loaded.path, loaded.scale) == ("mine", saved, 3)
    assert loaded.config == CONFIG


def test_each_network_built_from_weights_is_its_own(saved):
    weights = load_weights(saved)
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
    assert {**load_weights(path).metadata, **about} == load_weights(path).metadata


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
    assert load_weights(saved).sha256 == hashlib.sha256(saved.read_bytes()).hexdigest()


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


@pytest.fixture
def named(make_site, saved):
    """Site that knows the saved weights as tdafd-x3, on its mirror."""
    return make_site(saved.read_bytes())


def test_a_name_is_downloaded_once(named):
    told = []
    weights = load_weights("tdafd-x3", scale=3, progress=lambda *bytes_: told.append(bytes_))
    assert (weights.name, weights.path) == ("tdafd-x3", named.cached)
    assert weights.sha256 == named.entry.sha256
    assert told[-1] == (named.entry.size, named.entry.size)
    assert load_weights("tdafd-x3").path == named.cached
    assert len(named.server.asked) == 1


def test_bundled_weights_load_without_a_network(named, monkeypatch):
    named.bundled.write_bytes(named.content)
    monkeypatch.delenv("TDAFD_WEIGHTS_URL")
    assert bundled_names() == ("tdafd-x3",)
    assert load_weights(default_name(3)).path == named.bundled
    assert not named.cache.exists()


def test_a_file_goes_before_a_cached_name_and_that_before_a_bundled_one(
    named, saved, tmp_path, monkeypatch
):
    named.bundled.write_bytes(named.content)
    named.cached.parent.mkdir(parents=True)
    named.cached.write_bytes(named.content)
    assert load_weights("tdafd-x3").path == named.cached
    monkeypatch.chdir(tmp_path)
    saved.rename("tdafd-x3")
    weights = load_weights("tdafd-x3")
    assert (weights.name, str(weights.path)) == ("tdafd-x3", "tdafd-x3")


def test_damaged_cache_is_replaced_or_passed_over(named):
    named.cached.parent.mkdir(parents=True)
    named.cached.write_bytes(named.content[:-1])
    assert load_weights("tdafd-x3").path == named.cached
    named.cached.write_bytes(named.content[:-1])
    named.bundled.write_bytes(named.content)
    assert load_weights("tdafd-x3").path == named.bundled


def test_a_name_that_is_not_to_be_had_tells_what_to_do(named, monkeypatch):
    monkeypatch.setenv("TDAFD_OFFLINE", "1")
    with pytest.raises(WeightsError, match="tdafd-x3: TDAFD_OFFLINE forbids"):
        load_weights("tdafd-x3")
    monkeypatch.delenv("TDAFD_WEIGHTS_URL")
    with pytest.raises(WeightsError, match=r"tdafd-x3: no mirror .* set TDAFD_WEIGHTS_URL"):
        load_weights("tdafd-x3")


def test_wrong_scale_is_answered_with_the_names_that_fit(named, saved):
    with pytest.raises(WeightsError, match="made for scale 3, not 4; no weights for scale 4 come"):
        load_weights(saved, scale=4)
    save_weights(saved, TDAFD(replace(CONFIG, scale=2)), {})
    with pytest.raises(WeightsError, match="made for scale 2, not 3; use tdafd-x3"):
        load_weights(saved, scale=3)


def test_bundled_weights_load_by_name_and_fit_their_scale():
    for name in bundled_names():
        weights = load_weights(name)
        assert weights.name == name
        assert f"-x{weights.scale}" in name


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_every_default_name_is_known_or_refused(scale):
    name = f"tdafd-x{scale}"
    if name in read_registry():
        assert default_name(scale) == name
    else:
        with pytest.raises(WeightsError, match=f"no weights for scale {scale} come with"):
            default_name(scale)


def test_unknown_name_is_answered_with_the_known_ones():
    with pytest.raises(WeightsError, match=r"^tdafd-x9: unknown weights; there are ") as caught:
        load_weights("tdafd-x9")
    assert all(name in str(caught.value) for name in bundled_names())


def test_missing_file_is_told():
    with pytest.raises(WeightsError, match=r"none\.safetensors: cannot read weights: No such file"):
        load_weights("none.safetensors")


@pytest.mark.parametrize("suffix", [".pt", ".pth", ".ckpt", ".PKL", ".bin"])
def test_pickled_checkpoint_is_refused_with_the_reason(tmp_path, suffix):
    path = tmp_path / f"net{suffix}"
    path.write_bytes(b"")
    with pytest.raises(WeightsError, match="refused, as opening one can run code"):
        load_weights(path)


def test_pickle_in_disguise_is_not_opened_as_one(tmp_path):
    path = tmp_path / "net.safetensors"
    path.write_bytes(pickle.dumps({"weight": [1.0] * 100}))
    with pytest.raises(WeightsError, match="not a whole safetensors file"):
        load_weights(path)


@pytest.mark.parametrize("kept", [0, 5, 100, -1])
def test_truncated_file_is_told(saved, kept):
    saved.write_bytes(saved.read_bytes()[:kept])
    with pytest.raises(WeightsError, match=r"mine\.safetensors: not a whole safetensors file: "):
        load_weights(saved)


def test_other_programs_weights_are_told(tmp_path):
    path = tmp_path / "other.safetensors"
    path.write_bytes(save({"weight": torch.zeros(3)}))
    with pytest.raises(WeightsError, match="not weights of this program: format None"):
        load_weights(path)


def test_later_format_is_told(saved):
    resave(saved, format="tdafd-3")
    with pytest.raises(WeightsError, match="format 'tdafd-3' instead of 'tdafd-2'"):
        load_weights(saved)


def test_wrong_scale_is_told_with_both_scales(saved):
    with pytest.raises(WeightsError, match="made for scale 3, not 4; ") as caught:
        load_weights(saved, scale=4)
    assert "\n" not in str(caught.value)


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
        load_weights(saved)
    assert "\n" not in str(caught.value)


def test_missing_strange_and_misshapen_tensors_are_told(saved, network):
    state = {name: value.clone() for name, value in network.state_dict().items()}
    head = state.pop("head.weight")
    resave(saved, state=state)
    with pytest.raises(WeightsError, match=r"1 tensors .* head\.weight: none instead of \(4, 1,"):
        load_weights(saved)
    resave(saved, state={**state, "head.weight": head[:2].contiguous()})
    with pytest.raises(WeightsError, match=r"head\.weight: \(2, 1, 3, 3, 3\) instead of \(4, 1,"):
        load_weights(saved)
    resave(saved, state={**state, "head.weight": head, "extra": torch.zeros(2)})
    with pytest.raises(WeightsError, match=r"extra: \(2,\) instead of none"):
        load_weights(saved)


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_values_that_are_not_finite_are_told(saved, network, value):
    state = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    state["head.bias"][1] = value
    resave(saved, state=state)
    with pytest.raises(WeightsError, match=r"head\.bias holds values that are not finite"):
        load_weights(saved)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(position=st.floats(0, 1, exclude_max=True), byte=st.integers(0, 255))
def test_damaged_byte_gives_weights_or_a_weights_error(saved, position, byte):
    content = bytearray(saved.read_bytes())
    length = 8 + int.from_bytes(content[:8], "little")
    content[int(position * length)] = byte
    damaged = saved.with_name("damaged.safetensors")
    damaged.write_bytes(content)
    with contextlib.suppress(WeightsError):
        assert load_weights(damaged).scale in (2, 3, 4)
