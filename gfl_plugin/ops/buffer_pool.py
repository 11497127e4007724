"""A pool of memory for the large CPU tensors that each training step allocates, most of them gradients.

PyTorch's CPU allocator returns buffers of many megabytes to the system as soon as a tensor is freed. The next step
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
    return _tensor(_new(size) if (used := _free_buffer(size)) is None else used, shape, dtype)


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
    used = _free_buffer(size)
    return _tensor(_new(size), shape, dtype) if used is None else _tensor(used, shape, dtype).zero_()


def _bytes(shape: Sequence[int], dtype: torch.dtype) -> int:
    return math.prod(shape) * dtype.itemsize


def _capacity(size: int) -> int:
    """Bytes of the buffer for a tensor of ``size`` bytes: up to an eighth more.

    The number of positives differs from step to step. Their tensors still find a buffer if capacities are coarse.
    """
    step = 1 << (size.bit_length() - 4)
    return -(-size // step) * step


def _new(size: int) -> np.ndarray:
    """A new buffer of zeros for ``size`` bytes, in huge pages where the system has them."""
    capacity = _capacity(size)
    memory = np.zeros(capacity + _ALIGNMENT, dtype=np.uint8)
    start = -memory.ctypes.data % _ALIGNMENT
    return memory[start : start + capacity]


def _tensor(memory: np.ndarray, shape: Sequence[int], dtype: torch.dtype) -> Tensor:
    array = np.asarray(_PooledBuffer(memory))[: _bytes(shape, dtype)]
    if dtype == torch.float32:
        # Not a view of another tensor: autograd adds the gradients of two users of a map in place only if nothing else
        # refers to the memory of one of them.
        return torch.from_numpy(array.view(np.float32).reshape(shape))
    return torch.from_numpy(array).view(dtype).view(*shape)


def _free_buffer(size: int) -> np.ndarray | None:
    """A free buffer for ``size`` bytes, or None."""
    capacity = _capacity(size)
    for _ in range(len(_free)):
        try:
            memory = _free.popleft()
        except IndexError:  # other threads took the rest
            return None
        if memory.size == capacity:
            return memory
        _free.append(memory)
    return None
