"""Memory: what is free, its peak, and whether the C library keeps what was freed."""

import ctypes
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

if TYPE_CHECKING:
    import torch

# Of glibc's malloc.h, with the values that mallopt(3) gives as defaults.
_M_TRIM_THRESHOLD, _DEFAULT_TRIM_THRESHOLD = -1, 128 * 1024
_M_MMAP_MAX, _DEFAULT_MMAP_MAX = -4, 65536
# The C library's settings belong to the process and cannot be asked for, so who needs them is
# counted here: one item for each block of `freed_memory_kept` that is open, in any thread.
_blocks: list[None] = []
_lock = threading.Lock()


def free_memory(device: "torch.device") -> int:
    """Bytes that can be had on a device, within the limits of the container or the batch job."""
    if device.type != "cuda":
        return free_main_memory()
    import torch

    return torch.cuda.mem_get_info(device)[0]


def free_main_memory() -> int:
    """Bytes that can be had beside the CPU; known without PyTorch, whose import takes seconds."""
    available = int(psutil.virtual_memory().available)
    headroom = cgroup_headroom()
    return available if headroom is None else min(available, headroom)


def cgroup_headroom(
    membership: Path = Path("/proc/self/cgroup"), root: Path = Path("/sys/fs/cgroup")
) -> int | None:
    """Bytes that the process may still take under the tightest memory limit of its cgroups.

    Containers and schedulers such as SLURM limit memory so, and kill what exceeds it; the limit
    of every parent group counts too. None where there is no limit.
    """
    try:
        lines = membership.read_text().splitlines()
    except OSError:  # not Linux
        return None
    headrooms = []
    for line in lines:
        _, controllers, group = line.split(":", 2)
        if controllers == "":
            mounted, limit, usage = root, "memory.max", "memory.current"
        elif "memory" in controllers.split(","):
            mounted, limit, usage = (
                root / "memory",
                "memory.limit_in_bytes",
                "memory.usage_in_bytes",
            )
        else:
            continue
        inner = mounted / group.lstrip("/")
        folders = [inner, *inner.parents][: len(inner.parts) - len(mounted.parts) + 1]
        headrooms += [_headroom(folder, limit, usage) for folder in folders]
    known = [headroom for headroom in headrooms if headroom is not None]
    return min(known, default=None)


def peak_memory(device: "torch.device") -> int:
    """Most bytes held so far: by tensors on a GPU, elsewhere by the process."""
    if device.type == "cuda":
        import torch

        return torch.cuda.max_memory_allocated(device)
    if sys.platform == "win32":
        return int(psutil.Process().memory_info().peak_wset)
    if sys.platform == "linux":  # where ru_maxrss counts the process that started this one, too
        status = Path("/proc/self/status").read_text()
        return 1024 * int(status.partition("VmHWM:")[2].split(maxsplit=1)[0])
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # bytes on macOS


@contextmanager
def freed_memory_kept() -> Iterator[None]:
    """Let the C library reuse large freed blocks instead of returning them to the system.

    By default glibc maps every block over 32 MB afresh and returns it when freed, so each layer
    of a network waits for the system to clear its pages: tiles of 96^3 took 1.7 times as long.
    All is returned at the end of the outermost such block. Nothing happens with other C libraries.
    """
    mallopt = _glibc("mallopt")
    if mallopt is None:
        yield
        return
    with _lock:
        _blocks.append(None)
        mallopt(_M_MMAP_MAX, 0)
        mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)
    try:
        yield
    finally:
        with _lock:
            _blocks.pop()
            if not _blocks:
                mallopt(_M_MMAP_MAX, _DEFAULT_MMAP_MAX)
                mallopt(_M_TRIM_THRESHOLD, _DEFAULT_TRIM_THRESHOLD)
                return_freed_memory()


def return_freed_memory() -> None:
    """Give the system back what the C library holds of freed blocks, if it is glibc."""
    trim = _glibc("malloc_trim")
    if trim is not None:
        trim(0)


def restart_peak_memory(device: "torch.device") -> bool:
    """Let `peak_memory` count from now on; False where the system offers no way."""
    if device.type == "cuda":
        import torch

        torch.cuda.reset_peak_memory_stats(device)
        return True
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return False
    return True


def _headroom(folder: Path, limit: str, usage: str) -> int | None:
    """Limit minus usage of one cgroup; files in its cache count as free, as they can be dropped."""
    try:
        most = (folder / limit).read_text().strip()
        used = int((folder / usage).read_text())
        rows = (line.split() for line in (folder / "memory.stat").read_text().splitlines())
        cached = dict(rows).get("inactive_file", 0)
    except OSError:
        return None
    if most == "max" or int(most) > sys.maxsize // 2:  # cgroup v1 writes no limit as a huge one
        return None
    return max(0, int(most) - used + int(cached))


def _glibc(function: str) -> "ctypes._NamedFuncPointer | None":
    if not sys.platform.startswith("linux"):
        return None
    return getattr(ctypes.CDLL(None), function, None)
