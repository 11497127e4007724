"""Reading tensor values on the host, and tensors made from host values, without GPU synchronization."""

from __future__ import annotations

import torch
from torch import Tensor


def on_host(tensor: Tensor) -> bool:
    """Whether the host can read a tensor's values without synchronization.

    It cannot if the values are on a GPU, or while torch.compile, torch.export or torch.jit.trace records operations:
    there, tensors have no values, or those of an example.

    Args:
        tensor: any tensor.

    Returns:
        True for a CPU tensor outside of tracing.
    """
    return tensor.device.type == "cpu" and not (torch.compiler.is_compiling() or torch.jit.is_tracing())


def host_tensor(values: object, dtype: torch.dtype, device: torch.device) -> Tensor:
    """A tensor of host values on a device, without synchronizing with a GPU.

    Args:
        values: number or nested sequence of numbers, as ``torch.tensor`` takes.
        dtype: of the tensor.
        device: of the tensor.

    Returns:
        The tensor.
    """
    tensor = torch.tensor(values, dtype=dtype)
    if device.type == "cuda" and not torch.compiler.is_compiling():
        tensor = tensor.pin_memory()
    return tensor.to(device, non_blocking=True)
