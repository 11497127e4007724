"""The pass over negatives on a CPU, compiled by Numba: each logit is read once.

PyTorch has no single operation for it, and each of its operations is a pass over memory or cache.
"""

from __future__ import annotations

import numpy as np
import torch
from numba import prange

from ...ops import buffer_pool, numba_math
from ...ops.numba_kernel import inlined
from ...ops.numba_loops import threaded
from ...ops.numba_math import LOWEST, arithmetic, exp, log1p
from .negatives import Negatives, Result

_BLOCK = 2048  # elements whose losses are summed in fp32; the blocks' sums are added in fp64
_SOURCES = (numba_math,)

_ONE, _TWO, _ZERO = np.float32(1), np.float32(2), np.float32(0)

# "contract" allows fused multiply-adds. Only sums may be reassociated, because vectorizing them requires it.
_loop = inlined(fastmath={"contract"})


@inlined(fastmath={"contract", "reassoc", "nsz"})
def _added(total, value):
    return total + value


@arithmetic
def _terms(x, beta):
    """Loss and slope of one element. ``beta`` None means 2 and is compiled without logarithm and power."""
    low = -abs(x)
    low = LOWEST if low < LOWEST else low  # NaN stays NaN
    odds = exp(low)
    far = _ONE / (_ONE + odds)
    near = odds * far
    log = log1p(odds)
    positive = x > _ZERO
    sigma, rest = (far, near) if positive else (near, far)  # rest = 1 - sigma
    soft = log + (x if positive else _ZERO)
    if beta is None:
        beta, power = _TWO, sigma * sigma
    else:
        exponent = beta * ((_ZERO if positive else x) - log)
        power = exp(LOWEST if exponent < LOWEST else exponent)
    # Clamped, since rest does not fall below e^-87 while soft continues to grow.
    clamped = -LOWEST if soft > -LOWEST else soft
    return power * soft, power * (sigma + beta * clamped * rest)


@_loop
def _block(logits, gradient, factor, beta):
    """Sum of the losses of (N,) logits in fp32; ``gradient`` is filled."""
    total = _ZERO
    for i in range(logits.size):
        loss, slope = _terms(logits[i], beta)
        gradient[i] = factor * slope
        total = _added(total, loss)
    return total


@_loop
def _weighted_block(logits, weight, gradient, factor, beta):
    """As :func:`_block`, with a weight for each element."""
    total = _ZERO
    for i in range(logits.size):
        loss, slope = _terms(logits[i], beta)
        gradient[i] = factor * weight[i] * slope
        total = _added(total, weight[i] * loss)
    return total


@inlined()
def _plane(logits, weight, gradient, factor, beta):
    """Sum of the losses of (H·W,) logits; ``gradient`` is filled. ``weight`` has size 0 if there are no weights."""
    total = 0.0
    for start in range(0, logits.size, _BLOCK):
        part = logits[start : start + _BLOCK]
        out = gradient[start : start + _BLOCK]
        if weight.size:
            total += _weighted_block(part, weight[start : start + _BLOCK], out, factor, beta)
        else:
            total += _block(part, out, factor, beta)
    return total


@threaded(sources=_SOURCES)
def _planes(logits, weight, gradient, classes, factor, beta):
    """Sum of (B·C, H·W) logits; ``gradient`` is filled if it has that size."""
    wanted = gradient.size > 0
    sums = np.zeros(len(logits))
    nothing = np.empty(0, np.float32)
    for plane in prange(len(logits)):
        factors = weight[plane // classes] if weight.size else nothing
        out = gradient[plane] if wanted else np.empty(logits.shape[1], np.float32)
        sums[plane] = _plane(logits[plane], factors, out, factor, beta)
    return sums.sum()


def sweep(work: Negatives) -> Result:
    """Loss and gradient of all logits as negatives.

    Args:
        work: fp32 logits on a CPU with their weights, and the gradients to compute.

    Returns:
        Sums and gradients; see :data:`negatives.Result`.
    """
    factor, beta = np.float32(work.scale.item()), None if work.beta == 2.0 else np.float32(work.beta)
    nothing = np.empty((0, 0), np.float32)
    sums, gradients = [], []
    for index, level in enumerate(work.logits):
        images, classes, height, width = level.shape
        shape = (images * classes, height * width)
        flat = buffer_pool.empty((level.numel() + 1,), torch.float32, level.device) if work.wanted[index] else None
        out = nothing if flat is None else flat[:-1].numpy().reshape(shape)
        weight = nothing if work.weights is None else work.weights[index].flatten(1).numpy()
        sums.append(_planes(level.detach().numpy().reshape(shape), weight, out, classes, factor, beta))
        gradients.append(flat)
    return work.scale * torch.tensor(sums, dtype=torch.float32), gradients
