"""A pool of memory for the large CPU gradients that each training step allocates.

PyTorch's CPU allocator returns buffers of many megabytes to the system as soon as a gradient is freed. The next step
then pays for the page faults of new memory, which cost more than the arithmetic. Here freed buffers are pooled and
reused.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

_SMALL = 1 << 20  # bytes; PyTorch's allocator keeps buffers below this size
_KEPT = 12  # free buffers: two gradients per level of a pyramid, and two more
_ALIGNMENT = 64  # bytes, one cache line

_free: deque[np.ndarray] = deque(maxlen=_KEPT)  # when it is full, the oldest buffer returns to the system


class _PooledBuffer:
    """Owner of one buffer, which returns to the pool when the last tensor that uses it is freed."""

    def __init__(self, memory: np.ndarray) -> None:
        self.memory = memory
        self.__array_interface__ = memory.__array_interface__

    def __del__(self) -> None:
        _free.append(self.memory)


def empty(shape: Sequence[int], dtype: torch.dtype, device: torch.device) -> Tensor:
    """An uninitialized tensor, as ``torch.empty`` makes, from the pool if it is large and on a CPU.

    Args:
        shape: of the tensor.
        dtype: of the tensor.
        device: of the tensor.

    Returns:
        The tensor; its contents are undefined.
    """
    size = _bytes(shape, dtype)
    if device.type != "cpu" or size < _SMALL or torch.compiler.is_compiling():
        return torch.empty(shape, dtype=dtype, device=device)
    return _tensor(_new(size) if (used := _of_size(size)) is None else used, shape, dtype)


def zeros(shape: Sequence[int], dtype: torch.dtype, device: torch.device) -> Tensor:
    """A tensor of zeros, as ``torch.zeros`` makes, from the pool if it is large and on a CPU.

    Args:
        shape: of the tensor.
        dtype: of the tensor.
        device: of the tensor.

    Returns:
        The tensor.
    """
    size = _bytes(shape, dtype)
    if device.type != "cpu" or size < _SMALL or torch.compiler.is_compiling():
        return torch.zeros(shape, dtype=dtype, device=device)
    used = _of_size(size)
    return _tensor(_new(size), shape, dtype) if used is None else _tensor(used, shape, dtype).zero_()


def _bytes(shape: Sequence[int], dtype: torch.dtype) -> int:
    return math.prod(shape) * dtype.itemsize


def _new(size: int) -> np.ndarray:
    """A new buffer of zeros, in huge pages where the system has them."""
    memory = np.zeros(size + _ALIGNMENT, dtype=np.uint8)
    start = -memory.ctypes.data % _ALIGNMENT
    return memory[start : start + size]


def _tensor(memory: np.ndarray, shape: Sequence[int], dtype: torch.dtype) -> Tensor:
    array = np.asarray(_PooledBuffer(memory))
    if dtype == torch.float32:
        # Not a view of another tensor: autograd adds the gradients of two users of a map in place only if nothing else
        # refers to the memory of one of them.
        return torch.from_numpy(array.view(np.float32).reshape(shape))
    return torch.from_numpy(array).view(dtype).view(*shape)


def _of_size(size: int) -> np.ndarray | None:
    """A free buffer of exactly this size, or None."""
    for _ in range(len(_free)):
        memory = _free.popleft()
        if memory.size == size:
            return memory
        _free.append(memory)
    return None
