"""Searching blocks of logits in a loop compiled by Numba, which writes nothing but what it finds."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ..ops.numba_kernel import inlined, kernel

_STEP = 16  # values that are compared at once; few of them are found, so that most steps need no branch per value


@inlined()
def _search(values, first, bound, index, found, count):
    """Append those of the values that are at least the bound; ``first`` is the index of the first value."""
    for start in range(0, values.size, _STEP):
        part = values[start : start + _STEP]
        hits = 0
        for i in range(part.size):
            hits += part[i] >= bound
        if hits:
            for i in range(part.size):
                if part[i] >= bound:
                    index[count], found[count] = first + start + i, part[i]
                    count += 1
    return count


@kernel(error_model="numpy")
def _collect(values, size, maxima, bounds, index, found):
    """Fill ``index`` and ``found``; returns how many."""
    count = 0
    images, row = values.shape
    inside = maxima.shape[1] * size
    for image in range(images):
        for block in range(maxima.shape[1]):
            if not maxima[image, block] < bounds[image]:  # also if it is NaN
                part = values[image, block * size : (block + 1) * size]
                count = _search(part, image * row + block * size, bounds[image], index, found, count)
    for image in range(images):
        count = _search(values[image, inside:], image * row + inside, bounds[image], index, found, count)
    return count


def above(values: Tensor, size: int, maxima: Tensor, bound: Tensor) -> tuple[Tensor, Tensor]:
    """Values that are at least the bounds of their rows.

    Args:
        values: (B, N) fp32 on a CPU.
        size: of a block.
        maxima: (B, M) of each row's blocks, which may leave a rest of less than a block; NaN for a block with a NaN.
        bound: (B,) fp64; values are compared with it as fp32 numbers.

    Returns:
        (K,) indices into the flattened values, int64, and (K,) values, fp32: those in blocks, then those in the rests,
        ascending.
    """
    values, maxima, bound = values.detach().contiguous(), maxima.detach(), bound.float()
    searched = int((~(maxima < bound[:, None])).sum()) * size + len(values) * (values.shape[1] - maxima.shape[1] * size)
    index, found = np.empty(searched, np.int64), np.empty(searched, np.float32)
    count = _collect(values.numpy(), size, maxima.numpy(), bound.numpy(), index, found)
    return torch.from_numpy(index[:count].copy()), torch.from_numpy(found[:count].copy())
