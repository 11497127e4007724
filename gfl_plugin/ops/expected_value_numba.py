r"""Mean of values under a softmax distribution on a CPU, compiled by Numba.

Forward computes the slopes :math:`p_i\,(y_i - \bar y)`, too, so that backward is one product.
"""

from __future__ import annotations

import numpy as np
import torch
from numba import prange
from torch import Tensor

from . import buffer_pool, numba_math, numba_softmax
from .numba_loops import threaded
from .numba_softmax import ROWS, exponentials

_ZERO, _ONE = np.float32(0), np.float32(1)


@threaded(sources=(numba_math, numba_softmax), fastmath={"contract"})
def _means(logits, values, means, slopes):
    """Fill ``means`` (N,) from (N, n) logits; also ``slopes`` (N, n), unless it is empty."""
    wanted = slopes.size > 0
    for block in prange((len(logits) + ROWS - 1) // ROWS):
        begin, end = block * ROWS, min((block + 1) * ROWS, len(logits))
        top = np.empty(end - begin, np.float32)
        powers = slopes[begin:end] if wanted else np.empty((end - begin, len(values)), np.float32)
        exponentials(logits[begin:end], top, powers)
        for row in range(end - begin):
            total, mean = _ZERO, _ZERO
            for i in range(len(values)):
                total += powers[row, i]
                mean += powers[row, i] * values[i]
            factor = _ONE / total
            mean *= factor
            means[begin + row] = mean
            if wanted:
                for i in range(len(values)):
                    powers[row, i] *= factor * (values[i] - mean)


def expected_value(logits: Tensor, values: Tensor) -> Tensor:
    """Means, differentiable once with respect to the logits.

    Args:
        logits: (..., n) fp32 on a CPU.
        values: (n,) fp32, constant.

    Returns:
        (...) fp32.
    """
    return _ExpectedValue.apply(logits, values)


class _ExpectedValue(torch.autograd.Function):
    @staticmethod
    def forward(ctx, logits: Tensor, values: Tensor) -> Tensor:
        rows = logits.detach().reshape(-1, len(values))
        means = torch.empty(len(rows))
        slopes = buffer_pool.empty(rows.shape if ctx.needs_input_grad[0] else (0, 0), torch.float32, logits.device)
        _means(rows.contiguous().numpy(), values.numpy(), means.numpy(), slopes.numpy())
        ctx.save_for_backward(slopes)
        return means.view(logits.shape[:-1])

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad: Tensor) -> tuple[Tensor, None]:
        (slopes,) = ctx.saved_tensors
        out = buffer_pool.empty(slopes.shape, torch.float32, slopes.device)
        return torch.mul(grad.reshape(-1, 1), slopes, out=out).view(*grad.shape, slopes.shape[1]), None
