"""Processes that train together, as torchrun starts them; a single process needs no group."""

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import distributed


@contextmanager
def process_group(device: torch.device) -> Iterator[None]:
    """Join the other processes if torchrun started this one: NCCL on CUDA, gloo elsewhere."""
    if started_processes() is None:
        yield
        return
    distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield
    finally:
        distributed.destroy_process_group()


def started_processes() -> int | None:
    """How many processes torchrun started, known before they join; None without torchrun."""
    if "RANK" not in os.environ or "WORLD_SIZE" not in os.environ:
        return None
    return int(os.environ["WORLD_SIZE"])


def local_rank() -> int | None:
    """Number of this process on its machine if torchrun started it."""
    text = os.environ.get("LOCAL_RANK")
    return None if text is None else int(text)


def rank() -> int:
    """Number of this process among those that train together."""
    return distributed.get_rank() if distributed.is_initialized() else 0


def processes() -> int:
    """How many processes train together."""
    return distributed.get_world_size() if distributed.is_initialized() else 1


def average_(tensors: Iterable[torch.Tensor]) -> None:
    """Replace tensors by their mean over all processes, in one exchange."""
    if processes() == 1:
        return
    tensors = list(tensors)
    flat = torch.cat([tensor.flatten() for tensor in tensors])
    distributed.all_reduce(flat)
    flat /= processes()
    parts = torch.split(flat, [tensor.numel() for tensor in tensors])
    for tensor, part in zip(tensors, parts, strict=True):
        tensor.copy_(part.view(tensor.shape))


def concatenated(tensor: torch.Tensor) -> torch.Tensor:
    """Every process's tensor, all of one shape, along the first dimension."""
    if processes() == 1:
        return tensor
    parts = [torch.empty_like(tensor) for _ in range(processes())]
    distributed.all_gather(parts, tensor.contiguous())
    return torch.cat(parts)


def any_of(flag: bool) -> bool:
    """Whether the flag is set in any process."""
    if processes() == 1:
        return flag
    flags: list[Any] = [None] * processes()
    distributed.all_gather_object(flags, flag)
    return any(flags)


def gathered(items: list[Any]) -> list[Any]:
    """Every process's items, dealt in turn: what ``items[rank()::processes()]`` took apart."""
    if processes() == 1:
        return items
    parts: list[list[Any]] = [[] for _ in range(processes())]
    distributed.all_gather_object(parts, items)
    count = sum(len(part) for part in parts)
    return [parts[number % processes()][number // processes()] for number in range(count)]
