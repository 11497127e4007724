"""Softmax of short rows in loops compiled by Numba, a block of rows at a time.

A row of 17 logits is too short for vector instructions. The exponentials are therefore computed for all numbers of a
block at once. No sum is reordered. Kernels that use this module name it and :mod:`.numba_math` as ``sources``.
"""

from __future__ import annotations

from .numba_kernel import inlined
from .numba_math import LOWEST, exp

ROWS = 64  # rows per block, which stays in the cache; blocks are shared by threads


@inlined(fastmath={"contract"})
def exponentials(logits, top, powers):
    """Softmax of (N, n + 1) ``logits`` before division by the sum.

    Fills ``top`` (N,) with the highest logit of each row and ``powers`` (N, n + 1), contiguous, with e^(logit - top). A
    row with NaN has NaN in ``powers``.
    """
    count = logits.shape[1]
    for row in range(len(logits)):
        highest = logits[row, 0]
        for i in range(1, count):
            value = logits[row, i]
            highest = value if value > highest else highest
        top[row] = highest
        for i in range(count):
            distance = logits[row, i] - highest
            powers[row, i] = LOWEST if distance < LOWEST else distance
    every = powers.reshape(-1)
    for i in range(every.size):
        every[i] = exp(every[i])
