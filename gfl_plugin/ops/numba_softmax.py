"""Softmax of short rows in loops compiled by Numba, many rows at a time.

A row of 17 logits is too short for vector instructions, so that rows are laid side by side first: element i of all rows
is one vector. No sum is reordered. Kernels that use this module name it and :mod:`.numba_math` as ``sources``.
"""

from __future__ import annotations

import numpy as np

from .numba_kernel import inlined
from .numba_math import LOWEST, exp

LANES = 32  # rows that are computed together
ROWS = 8 * LANES  # rows per task of a thread
_ZERO = np.float32(0)


@inlined(fastmath={"contract"})
def exponentials(logits, begin, end, powers, top, total):
    """Softmax of rows [begin, end) of (N, n + 1) ``logits``, at most LANES of them, before division by the sum.

    Fills ``powers`` (n + 1, LANES) with e^(logit - top), ``top`` (LANES,) with the highest logits, ``total`` (LANES,)
    with sums of the powers. The lanes of missing rows have undefined values.
    """
    for lane in range(end - begin):
        for i in range(logits.shape[1]):
            powers[i, lane] = logits[begin + lane, i]
    for lane in range(LANES):
        top[lane], total[lane] = powers[0, lane], _ZERO
    for i in range(1, logits.shape[1]):
        for lane in range(LANES):
            value = powers[i, lane]
            top[lane] = value if value > top[lane] else top[lane]
    for i in range(logits.shape[1]):
        for lane in range(LANES):
            distance = powers[i, lane] - top[lane]
            power = exp(LOWEST if distance < LOWEST else distance)  # NaN stays NaN
            powers[i, lane] = power
            total[lane] += power
