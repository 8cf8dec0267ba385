"""Parts of a network that keep their own precision under autocast."""

import torch


def without_autocast(tensor: torch.Tensor) -> torch.autocast:
    """Context in which a tensor's device computes in the tensor's own precision."""
    kind = "cpu" if tensor.is_meta else tensor.device.type  # meta tensors have no autocast
    return torch.autocast(kind, enabled=False)
