import sys

import psutil
import pytest
import torch

from tdafd_cli.errors import DeviceError
from tdafd_cli.machine.hardware import (
    cgroup_headroom,
    choose_device,
    choose_precision,
    computes_bf16,
    free_memory,
    freed_memory_kept,
    peak_memory,
    precision_name,
    return_freed_memory,
    threads_limited,
)

CPU = torch.device("cpu")
has_cuda = torch.cuda.is_available()
LARGE = 64 * 2**20  # bytes, more than glibc takes from its heap by default


def write_group(folder, *, limit, usage, cached=0, version=2):
    names = {
        1: ("memory.limit_in_bytes", "memory.usage_in_bytes"),
        2: ("memory.max", "memory.current"),
    }[version]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / names[0]).write_text(f"{limit}\n")
    (folder / names[1]).write_text(f"{usage}\n")
    (folder / "memory.stat").write_text(f"anon 5\ninactive_file {cached}\n")


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


def test_free_memory_is_less_than_the_machine_has():
    assert 0 < free_memory(CPU) <= psutil.virtual_memory().total


@pytest.mark.gpu
@pytest.mark.skipif(not has_cuda, reason="no CUDA device")
def test_free_memory_of_a_gpu_shrinks_as_tensors_are_made():
    device = torch.device("cuda:0")
    before = free_memory(device)
    held = torch.empty(LARGE, dtype=torch.uint8, device=device)
    assert free_memory(device) <= before - held.nbytes
    assert peak_memory(device) >= held.nbytes


def test_tightest_of_nested_cgroups_counts(tmp_path):
    membership = tmp_path / "cgroup"
    membership.write_text("0::/jobs/mine\n")
    root = tmp_path / "fs"
    write_group(root / "jobs" / "mine", limit="max", usage=10)
    write_group(root / "jobs", limit=1000, usage=700, cached=50)
    assert cgroup_headroom(membership, root) == 350
    write_group(root / "jobs" / "mine", limit=300, usage=100)
    assert cgroup_headroom(membership, root) == 200
    write_group(root, limit=900, usage=800)
    assert cgroup_headroom(membership, root) == 100


def test_group_over_its_limit_leaves_nothing(tmp_path):
    membership = tmp_path / "cgroup"
    membership.write_text("0::/\n")
    write_group(tmp_path / "fs", limit=1000, usage=1500)
    assert cgroup_headroom(membership, tmp_path / "fs") == 0


def test_first_version_of_cgroups_counts_too(tmp_path):
    membership = tmp_path / "cgroup"
    membership.write_text("5:cpu,cpuacct:/job\n4:memory:/job\n0::/\n")
    root = tmp_path / "fs"
    write_group(root / "memory" / "job", limit=9223372036854771712, usage=9, version=1)
    assert cgroup_headroom(membership, root) is None
    write_group(root / "memory" / "job", limit=50, usage=9, version=1)
    assert cgroup_headroom(membership, root) == 41


def test_limits_of_a_container_count_though_its_group_is_out_of_sight(tmp_path):
    membership = tmp_path / "cgroup"
    membership.write_text("4:memory:/docker/0123abcd\n")
    write_group(tmp_path / "fs" / "memory", limit=80, usage=9, version=1)
    assert cgroup_headroom(membership, tmp_path / "fs") == 71


def test_without_cgroups_there_is_no_limit(tmp_path):
    assert cgroup_headroom(tmp_path / "none", tmp_path) is None


def test_peak_memory_is_at_least_what_the_process_holds_now():
    held = psutil.Process().memory_info().rss
    assert held <= peak_memory(CPU) <= psutil.virtual_memory().total


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's allocator only")
def test_freed_memory_is_kept_for_a_while_and_returned_then():
    process = psutil.Process()
    with freed_memory_kept():
        return_freed_memory()  # what other tests left behind would serve
        before = process.memory_info().rss
        torch.ones(LARGE // 4).sum()
        kept = process.memory_info().rss - before
    returned = process.memory_info().rss - before
    assert kept > 0.9 * LARGE
    assert returned < 0.1 * LARGE


def test_number_of_threads_is_limited_for_a_while():
    before = torch.get_num_threads()
    with threads_limited(before + 1):
        with threads_limited(before + 2):
            assert torch.get_num_threads() == before + 2
        with threads_limited(None):
            assert torch.get_num_threads() == before + 1
        assert torch.get_num_threads() == before + 1
    assert torch.get_num_threads() == before
