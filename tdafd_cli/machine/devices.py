"""What a network computes on: a device, a precision and a number of threads."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from tdafd_cli.errors import DeviceError
from tdafd_cli.machine.precision_names import PRECISIONS

DTYPES = dict(zip(PRECISIONS, (torch.float32, torch.bfloat16, torch.float16), strict=True))
BF16_INSTRUCTIONS = {"amx_bf16", "avx512_bf16", "sve_bf16"}  # as PyTorch names them


def choose_device(name: str) -> torch.device:
    """Device to compute on.

    Parameters
    ----------
    name : str
        "cpu", "cuda", "cuda:N" or "mps"; "auto" is CUDA where there is a GPU, else the CPU.

    Raises
    ------
    DeviceError
        If it is not available here.
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
    return DTYPES[name]


def computes_bf16(device: torch.device) -> bool:
    """Whether a device has instructions for bf16; any other takes several times as long in it."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device)[0] >= 8
    return device.type == "cpu" and bool(_cpu_capabilities() & BF16_INSTRUCTIONS)


def precision_name(dtype: torch.dtype) -> str:
    """Name of a precision that :func:`choose_precision` gave."""
    return next(name for name, precision in DTYPES.items() if precision == dtype)


@contextmanager
def threads_limited(threads: int | None) -> Iterator[None]:
    """Compute with so many CPU threads, or as many as there are cores; None changes nothing.

    Thousands of threads on a few cores wait for each other without end.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(min(threads or before, max(before, os.cpu_count() or 1)))
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
    """Instruction sets of the CPU; older versions of PyTorch do not report any."""
    get_capabilities = getattr(torch.cpu, "get_capabilities", dict)
    return {name for name, found in get_capabilities().items() if found is True}
