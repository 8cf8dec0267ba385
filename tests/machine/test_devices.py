import os

import pytest
import torch

from tdafd_cli.errors import DeviceError
from tdafd_cli.machine.devices import (
    choose_device,
    choose_precision,
    computes_bf16,
    precision_name,
    threads_limited,
)

CPU = torch.device("cpu")
has_cuda = torch.cuda.is_available()


def test_auto_is_a_gpu_if_there_is_one():
    assert choose_device("auto").type == ("cuda" if has_cuda else "cpu")


def test_cpu_is_always_to_be_had():
    assert choose_device("cpu") == CPU


@pytest.mark.skipif(has_cuda, reason="there is a CUDA device")
@pytest.mark.parametrize("name", ["cuda", "cuda:0", "cuda:3"])
def test_cuda_without_a_gpu_is_refused_with_advice(name):
    with pytest.raises(DeviceError, match=f"^{name}: .*; use cpu, or install"):
        choose_device(name)


@pytest.mark.gpu
@pytest.mark.skipif(not has_cuda, reason="no CUDA device")
def test_gpu_number_out_of_range_is_refused_with_those_there_are():
    with pytest.raises(DeviceError, match=r"^cuda:99: there is no such GPU; use cuda:0"):
        choose_device("cuda:99")


@pytest.mark.skipif(torch.backends.mps.is_available(), reason="there is an Apple GPU")
def test_apple_gpu_elsewhere_is_refused():
    with pytest.raises(DeviceError, match=r"^mps: this machine has no Apple GPU"):
        choose_device("mps")


def test_device_of_no_use_here_is_refused():
    with pytest.raises(DeviceError, match=r"^meta: not supported"):
        choose_device("meta")


@pytest.mark.parametrize("name", ["fp32", "bf16", "fp16"])
def test_named_precision_is_taken(name):
    assert precision_name(choose_precision(name, CPU)) == name


def test_automatic_precision_is_reduced_only_where_the_cpu_has_it():
    capabilities = getattr(torch.cpu, "get_capabilities", dict)()
    fast = any(capabilities.get(name) for name in ("amx_bf16", "avx512_bf16", "sve_bf16"))
    assert choose_precision("auto", CPU) == (torch.bfloat16 if fast else torch.float32)
    assert computes_bf16(CPU) == fast


def test_apple_gpus_compute_in_fp32_only():
    mps = torch.device("mps")
    assert choose_precision("auto", mps) == choose_precision("fp32", mps) == torch.float32
    assert not computes_bf16(mps)
    with pytest.raises(DeviceError, match="bf16: not supported on mps; use fp32"):
        choose_precision("bf16", mps)


def test_number_of_threads_is_limited_for_a_while(monkeypatch):
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    before = torch.get_num_threads()
    with threads_limited(before + 1):
        with threads_limited(before + 2):
            assert torch.get_num_threads() == before + 2
        with threads_limited(None):
            assert torch.get_num_threads() == before + 1
        assert torch.get_num_threads() == before + 1
    assert torch.get_num_threads() == before


def test_no_more_threads_run_than_there_are_cores(monkeypatch):
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    before = torch.get_num_threads()
    with threads_limited(4000):
        assert torch.get_num_threads() == max(before, 2)
