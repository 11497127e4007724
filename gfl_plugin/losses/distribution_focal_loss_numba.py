"""Distribution Focal Loss of rows on a CPU, compiled by Numba.

Forward computes the slopes, too: the probabilities minus the weights of the two bins. Backward is then one product.
"""

from __future__ import annotations

import numpy as np
import torch
from numba import prange
from torch import Tensor

from ..ops import buffer_pool, numba_math, numba_softmax
from ..ops.numba_loops import threaded
from ..ops.numba_softmax import ROWS, exponentials

_ZERO, _ONE = np.float32(0), np.float32(1)


@threaded(sources=(numba_math, numba_softmax), fastmath={"contract"})
def _losses(logits, position, losses, slopes):
    """Fill ``losses`` (N,) from (N, n + 1) logits and positions in [0, n]; also ``slopes`` (N, n + 1), unless empty."""
    wanted, count = slopes.size > 0, logits.shape[1]
    for block in prange((len(logits) + ROWS - 1) // ROWS):
        begin, end = block * ROWS, min((block + 1) * ROWS, len(logits))
        top = np.empty(end - begin, np.float32)
        powers = slopes[begin:end] if wanted else np.empty((end - begin, count), np.float32)
        exponentials(logits[begin:end], top, powers)
        for row in range(end - begin):
            total = _ZERO
            for i in range(count):
                total += powers[row, i]
            place = position[begin + row]
            left = min(int(place), count - 2)
            right_weight = place - np.float32(left)
            left_weight = _ONE - right_weight
            log_total = np.log(total)
            left_log = (logits[begin + row, left] - top[row]) - log_total
            right_log = (logits[begin + row, left + 1] - top[row]) - log_total
            losses[begin + row] = -(left_weight * left_log + right_weight * right_log)
            if wanted:
                factor = _ONE / total
                for i in range(count):
                    powers[row, i] *= factor
                powers[row, left] -= left_weight
                powers[row, left + 1] -= right_weight


def rows(logits: Tensor, position: Tensor) -> Tensor:
    """DFL of each row, differentiable once with respect to the logits.

    Args:
        logits: (N, n + 1) fp32 on a CPU.
        position: (N,) fp32 in [0, n], targets as fractional indices of bins.

    Returns:
        (N,) fp32.
    """
    return _Rows.apply(logits, position)


class _Rows(torch.autograd.Function):
    @staticmethod
    def forward(ctx, logits: Tensor, position: Tensor) -> Tensor:
        losses = torch.empty(len(logits))
        slopes = buffer_pool.empty(logits.shape if ctx.needs_input_grad[0] else (0, 0), torch.float32, logits.device)
        _losses(*(tensor.detach().contiguous().numpy() for tensor in (logits, position, losses, slopes)))
        ctx.save_for_backward(slopes)
        return losses

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad: Tensor) -> tuple[Tensor, None]:
        (slopes,) = ctx.saved_tensors
        out = buffer_pool.empty(slopes.shape, torch.float32, slopes.device)
        return torch.mul(grad[:, None], slopes, out=out), None
