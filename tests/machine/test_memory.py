import subprocess
import sys

import psutil
import pytest
import torch

from tdafd_cli.machine.memory import (
    cgroup_headroom,
    free_memory,
    peak_memory,
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


glibc_only = pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="glibc's allocator only"
)


# In a process of its own: where an earlier allocation failed, glibc serves the thread from another
# part of memory, to which its settings do not apply.
KEEPING = """
import sys
import psutil, torch
from tdafd_cli.machine.memory import freed_memory_kept, return_freed_memory
process, large = psutil.Process(), int(sys.argv[1])
with freed_memory_kept():
    if sys.argv[2] == "nested":
        with freed_memory_kept():
            pass
    return_freed_memory()
    before = process.memory_info().rss
    torch.ones(large // 4).sum()
    kept = process.memory_info().rss - before
print(kept, process.memory_info().rss - before)
"""


@glibc_only
@pytest.mark.parametrize("blocks", ["single", "nested"])
def test_freed_memory_is_kept_until_the_outermost_block_ends(blocks):
    command = [sys.executable, "-c", KEEPING, str(LARGE), blocks]
    run = subprocess.run(command, capture_output=True, check=True, text=True)
    kept, returned = map(int, run.stdout.split())
    assert kept > 0.9 * LARGE
    assert returned < 0.1 * LARGE
