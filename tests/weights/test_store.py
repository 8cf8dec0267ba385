from dataclasses import replace

import pytest
import torch

from tdafd_cli.errors import WeightsError
from tdafd_cli.networks.tdafd import TDAFD, TDAFDConfig
from tdafd_cli.weights.file import save_weights
from tdafd_cli.weights.registry import read_registry
from tdafd_cli.weights.store import bundled_names, default_name, kept_weights, load_weights

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


@pytest.mark.parametrize("suffix", [".pt", ".pth", ".ckpt", ".PKL", ".bin"])
def test_pickled_checkpoint_is_refused_with_the_reason(tmp_path, suffix):
    path = tmp_path / f"net{suffix}"
    path.write_bytes(b"")
    with pytest.raises(WeightsError, match="refused, as opening one can run code"):
        load_weights(path)


def test_wrong_scale_is_told_with_both_scales(saved):
    with pytest.raises(WeightsError, match="made for scale 3, not 4; ") as caught:
        load_weights(saved, scale=4)
    assert "\n" not in str(caught.value)


def test_kept_weights_are_read_again_only_if_their_file_changed(saved, network):
    first = kept_weights(saved)
    assert kept_weights(str(saved), scale=3) is first
    with torch.no_grad():
        network.head.weight.mul_(2)
    save_weights(saved, network, {"seed": 4})
    changed = kept_weights(saved)
    assert changed.metadata["seed"] == 4
    assert torch.equal(changed.state["head.weight"], network.head.weight)


def test_kept_weights_of_a_name_follow_its_place(named):
    assert kept_weights("tdafd-x3") is kept_weights("tdafd-x3")
    assert kept_weights("tdafd-x3").path == named.cached.resolve()
    assert len(named.server.asked) == 1


def test_kept_weights_fail_like_others(saved, tmp_path):
    kept_weights(saved)
    with pytest.raises(WeightsError, match="made for scale 3, not 2"):
        kept_weights(saved, scale=2)
    with pytest.raises(WeightsError, match="cannot read weights"):
        kept_weights(tmp_path / "none.safetensors")


def test_scale_2_is_meant_where_none_is_given(named):
    with pytest.raises(WeightsError, match="no weights for scale 2"):
        default_name()
