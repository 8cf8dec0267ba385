"""What the machine offers a network: a device, a precision, and memory."""

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import torch

from tdafd_cli.errors import DeviceError

PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
BF16_INSTRUCTIONS = {"amx_bf16", "avx512_bf16", "sve_bf16"}  # as PyTorch names them

# Of glibc's malloc.h, with the values that mallopt(3) gives as defaults.
_M_TRIM_THRESHOLD, _DEFAULT_TRIM_THRESHOLD = -1, 128 * 1024
_M_MMAP_MAX, _DEFAULT_MMAP_MAX = -4, 65536


def choose_device(name: str) -> torch.device:
    """Device to compute on.

    Parameters
    ----------
    name : str
        "cpu", "cuda", "cuda:N" or "mps"; "auto" is CUDA where there is a GPU, else the CPU.

    Raises
    ------
    DeviceError
        If it is not to be had here.
    """
    if name == "auto":
        return torch.device("cuda:0" if torch.cuda.is_available() else "cpu")
    device = torch.device(name)
    if device.type == "cuda":
        return _cuda_device(name, device.index or 0)
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise DeviceError(f"{name}: this machine has no Apple GPU that PyTorch can use; use cpu")
    if device.type not in ("cpu", "mps"):
        raise DeviceError(f"{name}: not supported; use auto, cpu, cuda or mps")
    return device


def choose_precision(name: str, device: torch.device) -> torch.dtype:
    """Type that a network's trunk computes in.

    Parameters
    ----------
    name : {"auto", "fp32", "bf16", "fp16"}
        "auto" is the fastest that the device computes in by itself: bf16, fp16 or fp32. Others
        work too, but a CPU without the instructions takes up to ten times as long as in fp32.
    device : torch.device

    Raises
    ------
    DeviceError
        If the device cannot compute in it.
    """
    if name == "auto":
        return _fastest_precision(device)
    if device.type == "mps" and name != "fp32":  # autocast is young there, and unchecked here
        raise DeviceError(f"precision {name}: not supported on mps; use fp32")
    return PRECISIONS[name]


def computes_bf16(device: torch.device) -> bool:
    """Whether a device has instructions for bf16; any other takes several times as long in it."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device)[0] >= 8
    return device.type == "cpu" and bool(_cpu_capabilities() & BF16_INSTRUCTIONS)


def precision_name(dtype: torch.dtype) -> str:
    """Name of a precision that :func:`choose_precision` gave."""
    return next(name for name, precision in PRECISIONS.items() if precision == dtype)


def free_memory(device: torch.device) -> int:
    """Bytes that can be had on a device, within the limits of the container or the batch job."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
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


def peak_memory(device: torch.device) -> int:
    """Most bytes held so far: by tensors on a GPU, elsewhere by the process."""
    if device.type == "cuda":
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
    All is returned at the end. Nothing happens with other C libraries.
    """
    mallopt = _glibc("mallopt")
    if mallopt is None:
        yield
        return
    mallopt(_M_MMAP_MAX, 0)
    mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)
    try:
        yield
    finally:
        mallopt(_M_MMAP_MAX, _DEFAULT_MMAP_MAX)
        mallopt(_M_TRIM_THRESHOLD, _DEFAULT_TRIM_THRESHOLD)
        return_freed_memory()


def return_freed_memory() -> None:
    """Give the system back what the C library holds of freed blocks, if it is glibc."""
    trim = _glibc("malloc_trim")
    if trim is not None:
        trim(0)


def restart_peak_memory(device: torch.device) -> bool:
    """Let `peak_memory` count from now on; False where the system offers no way."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return True
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return False
    return True


@contextmanager
def threads_limited(threads: int | None) -> Iterator[None]:
    """Compute with so many CPU threads; None leaves the number as it is."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _cuda_device(name: str, index: int) -> torch.device:
    if not torch.cuda.is_available():
        built = torch.version.cuda is not None
        reason = "no NVIDIA GPU or driver was found" if built else "this PyTorch is built for CPUs"
        raise DeviceError(f"{name}: {reason}; use cpu, or install a driver and a CUDA PyTorch")
    count = torch.cuda.device_count()
    if index >= count:
        names = ", ".join(f"cuda:{n}" for n in range(count))
        raise DeviceError(f"{name}: there is no such GPU; use {names}")
    return torch.device("cuda", index)


def _fastest_precision(device: torch.device) -> torch.dtype:
    if computes_bf16(device):
        return torch.bfloat16
    if device.type == "cuda" and torch.cuda.get_device_capability(device)[0] == 7:
        return torch.float16
    return torch.float32


def _cpu_capabilities() -> set[str]:
    """Instruction sets of the CPU; older versions of PyTorch do not tell, so none."""
    get_capabilities = getattr(torch.cpu, "get_capabilities", dict)
    return {name for name, found in get_capabilities().items() if found is True}


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
