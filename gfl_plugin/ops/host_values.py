"""Tensor values that the host knows, and tensors of values that the host gives.

A GPU computes behind the host, so that the host would have to wait for it before it could look at a tensor.
"""

from __future__ import annotations

import torch
from torch import Tensor


def on_host(tensor: Tensor) -> bool:
    """Whether the host can look at a tensor's values without waiting.

    It cannot where a GPU holds them, nor while torch.compile or torch.export traces: then there are no values yet.
    """
    return tensor.device.type == "cpu" and not torch.compiler.is_compiling()


def host_tensor(values: object, dtype: torch.dtype, device: torch.device) -> Tensor:
    """A tensor of host values on a device, without making the host wait for a GPU."""
    tensor = torch.tensor(values, dtype=dtype)
    if device.type == "cuda" and not torch.compiler.is_compiling():
        tensor = tensor.pin_memory()
    return tensor.to(device, non_blocking=True)
