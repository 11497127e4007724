"""Memory for the large CPU gradients that each training step needs anew.

PyTorch's CPU allocator returns tens of megabytes to the system when a gradient dies, and the next step pays for them
again, page by page: more than the arithmetic on them. Here a dead gradient's memory waits for the next of its size.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

_SMALL = 1 << 20  # bytes; below it the ordinary allocator keeps its memory
_KEPT = 12  # dead memories that wait: two gradients a level of a pyramid, and a little more
_ALIGNMENT = 64  # bytes, a cache line

_waiting: deque[np.ndarray] = deque(maxlen=_KEPT)  # the oldest is given back to the system


class _Lease:
    """Lends memory to NumPy, and through it to a tensor; it waits for the next one when that is gone."""

    def __init__(self, memory: np.ndarray) -> None:
        self.memory = memory
        self.__array_interface__ = memory.__array_interface__

    def __del__(self) -> None:
        _waiting.append(self.memory)


def empty(shape: Sequence[int], dtype: torch.dtype, device: torch.device) -> Tensor:
    """As ``torch.empty``; on a CPU from the memory of an earlier call's result that is no longer used."""
    size = _bytes(shape, dtype)
    if device.type != "cpu" or size < _SMALL or torch.compiler.is_compiling():
        return torch.empty(shape, dtype=dtype, device=device)
    return _tensor(_new(size) if (used := _of_size(size)) is None else used, shape, dtype)


def zeros(shape: Sequence[int], dtype: torch.dtype, device: torch.device) -> Tensor:
    """As ``torch.zeros``, with the memory of :func:`empty`."""
    size = _bytes(shape, dtype)
    if device.type != "cpu" or size < _SMALL or torch.compiler.is_compiling():
        return torch.zeros(shape, dtype=dtype, device=device)
    used = _of_size(size)
    return _tensor(_new(size), shape, dtype) if used is None else _tensor(used, shape, dtype).zero_()


def _bytes(shape: Sequence[int], dtype: torch.dtype) -> int:
    return math.prod(shape) * dtype.itemsize


def _new(size: int) -> np.ndarray:
    """Zero when first touched, and in huge pages where the system has them."""
    memory = np.zeros(size + _ALIGNMENT, dtype=np.uint8)
    start = -memory.ctypes.data % _ALIGNMENT
    return memory[start : start + size]


def _tensor(memory: np.ndarray, shape: Sequence[int], dtype: torch.dtype) -> Tensor:
    return torch.from_numpy(np.asarray(_Lease(memory))).view(dtype).view(*shape)


def _of_size(size: int) -> np.ndarray | None:
    """Waiting memory of exactly this size, if there is any."""
    for _ in range(len(_waiting)):
        memory = _waiting.popleft()
        if memory.size == size:
            return memory
        _waiting.append(memory)
    return None
