import subprocess
import sys
from dataclasses import replace

import pytest
import torch

from tdafd_cli.errors import DeviceError
from tdafd_cli.inference.backends import WORTHWHILE, Backend, choose_backend
from tdafd_cli.inference.openvino_trunk import openvino_trunk, openvino_version
from tdafd_cli.inference.prediction import predict_volume
from tdafd_cli.inference.settings import InferenceSettings
from tdafd_cli.networks.tdafd import TDAFD

CPU = torch.device("cpu")
SETTINGS = InferenceSettings(
    precision="fp32", device="cpu", ensemble=2, backend="openvino", fallback=False
)
installed = openvino_version() is not None
needs_openvino = pytest.mark.skipif(not installed, reason="OpenVINO is not installed")


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("TDAFD_CACHE", str(tmp_path))
    return tmp_path / "openvino"


def inputs(network, *sizes):
    generator = torch.Generator().manual_seed(0)
    low = torch.rand((1, 1, *(size * network.grid for size in sizes)), generator=generator)
    return low, torch.full((1, 3, 8), 0.1)


def both(network, trunk, *sizes):
    low, falloff = inputs(network, *sizes)
    with torch.inference_mode():
        return trunk(low, falloff), network.trunk(low, falloff)


def test_pytorch_is_taken_for_little_work_and_where_nothing_else_computes(tiny_network):
    assert choose_backend("torch", tiny_network, CPU, torch.float32, 10**9) == Backend()
    assert choose_backend("auto", tiny_network, CPU, torch.float32, WORTHWHILE - 1) == Backend()
    assert choose_backend("auto", tiny_network, CPU, torch.float16, 10**9) == Backend()
    gpu = torch.device("cuda")
    assert choose_backend("auto", tiny_network, gpu, torch.float32, 10**9) == Backend()


@pytest.mark.skipif(installed, reason="OpenVINO is installed")
def test_openvino_that_is_not_installed_is_told(tiny_network):
    with pytest.raises(DeviceError, match=r"pip install 'tdafd-cli\[openvino\]'"):
        choose_backend("openvino", tiny_network, CPU, torch.float32, 1)


@needs_openvino
@pytest.mark.parametrize(
    ("device", "dtype", "message"),
    [("cuda", torch.float32, "use cpu"), ("cpu", torch.float16, "use fp32 or bf16")],
)
def test_what_openvino_cannot_do_is_refused(tiny_network, device, dtype, message):
    with pytest.raises(DeviceError, match=message):
        choose_backend("openvino", tiny_network, torch.device(device), dtype, 1)


@needs_openvino
def test_openvino_is_on_the_cpu_unless_told_otherwise():
    assert InferenceSettings(backend="openvino").place == "cpu"
    assert InferenceSettings(backend="openvino", device="cuda").place == "cuda"
    assert InferenceSettings().place == "auto"


@needs_openvino
def test_openvino_does_what_pytorch_does_at_every_size(tiny_network, cache):
    trunk = openvino_trunk(tiny_network, torch.float32, cache)
    for sizes in ((1, 1, 1), (2, 1, 3)):
        torch.testing.assert_close(*both(tiny_network, trunk, *sizes), atol=1e-5, rtol=1e-4)


@needs_openvino
def test_an_odd_volume_comes_out_as_by_pytorch(tiny_network):
    low = torch.rand((21, 13, 38), generator=torch.Generator().manual_seed(0))
    high, execution = predict_volume(tiny_network, low, SETTINGS)
    expected, _ = predict_volume(tiny_network, low, replace(SETTINGS, backend="torch"))
    assert (high - expected).abs().max() < 1e-4
    assert (execution.backend, execution.notes) == ("openvino", ())


@needs_openvino
def test_a_network_is_converted_once_and_again_when_its_weights_change(tiny_network, cache):
    for _ in range(2):
        openvino_trunk(tiny_network, torch.float32, cache)
    (kept,) = cache.glob("*.zip")
    other = TDAFD(tiny_network.config).eval()
    openvino_trunk(other, torch.float32, cache)
    assert len(list(cache.iterdir())) == 2
    assert kept in cache.iterdir()


@needs_openvino
def test_a_damaged_conversion_is_replaced(tiny_network, cache):
    openvino_trunk(tiny_network, torch.float32, cache)
    (kept,) = cache.glob("*.zip")
    whole = kept.stat().st_size
    kept.write_bytes(kept.read_bytes()[:1000])
    trunk = openvino_trunk(tiny_network, torch.float32, cache)
    torch.testing.assert_close(*both(tiny_network, trunk, 1, 1, 1), atol=1e-5, rtol=1e-4)
    assert abs(kept.stat().st_size - whole) < 100


@needs_openvino
def test_a_folder_that_cannot_be_written_is_done_without(tiny_network, tmp_path):
    file = tmp_path / "file"
    file.write_text("no folder")
    trunk = openvino_trunk(tiny_network, torch.float32, file / "openvino")
    torch.testing.assert_close(*both(tiny_network, trunk, 1, 1, 1), atol=1e-5, rtol=1e-4)


@needs_openvino
def test_the_faster_backend_is_asked_for_once(tiny_network, cache):
    first = choose_backend("auto", tiny_network, CPU, torch.float32, WORTHWHILE)
    (times,) = cache.glob("*.json")
    for torch_seconds, name in ((1e9, "openvino"), (1e-9, "torch")):
        times.write_text(f'{{"torch": {torch_seconds}, "openvino": 1}}')
        chosen = choose_backend("auto", tiny_network, CPU, torch.float32, WORTHWHILE)
        assert chosen.name == name
    assert first.name in ("torch", "openvino")


@needs_openvino
def test_a_backend_that_errs_gives_way_to_pytorch(tiny_network, cache):
    other = TDAFD(tiny_network.config).eval()
    torch.nn.init.normal_(other.tail.bias)
    openvino_trunk(tiny_network, torch.float32, cache)
    (right,) = cache.glob("*.zip")
    openvino_trunk(other, torch.float32, cache)
    (wrong,) = set(cache.glob("*.zip")) - {right}
    right.write_bytes(wrong.read_bytes())
    low = torch.rand((9, 8, 20), generator=torch.Generator().manual_seed(0))
    high, execution = predict_volume(tiny_network, low, SETTINGS)
    expected, _ = predict_volume(tiny_network, low, replace(SETTINGS, backend="torch"))
    assert torch.equal(high, expected)
    assert execution.backend == "torch"
    assert execution.notes[0].startswith("OpenVINO in fp32 differed from fp32 by ")


@needs_openvino
def test_openvino_reports_to_nobody():
    code = (
        "from tdafd_cli.inference.openvino_trunk import imported_openvino; import sys;"
        "imported_openvino(); assert sys.modules['openvino_telemetry'] is None"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
