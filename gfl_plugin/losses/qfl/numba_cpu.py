"""The pass over negatives on a CPU, compiled by Numba: each logit is read once.

PyTorch has no single operation for it, and each of its operations is a pass over memory or cache. Exponential and
logarithm are polynomials here, which vectorize; each result is within a few units in the last place of the exact value.

All functions and constants that the compiled code uses are in this file, since its cache on disk depends on this
file only; see :mod:`gfl_plugin.ops.numba_kernel`.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from numba import njit, prange

from ...ops import buffer_pool
from ...ops.numba_kernel import kernel
from ...ops.numba_threads import set_threads, thread_count
from .negatives import Negatives, Result

_BLOCK = 2048  # elements whose losses are summed in fp32; the blocks' sums are added in fp64
_LOWEST = np.float32(-87.0)  # e^x is a normal fp32 number from here on

# fp32 coefficients of the interpolating polynomials at Chebyshev nodes, highest power first. They are written out so
# that the code on disk does not depend on NumPy's version.
_EXP = tuple(
    np.float32(value) for value in (0.0013941108, 0.008375126, 0.04166635, 0.16666415, 0.5, 1.0, 1.0)
)  # of e^x for |x| <= ln(2) / 2
_LOG1P = tuple(
    np.float32(value)
    for value in (
        *(-0.003176057, 0.019542528, -0.056373615, 0.105436236, -0.15269667),
        *(0.19663274, -0.24951616, 0.3332971, -0.49999893, 1.0),
    )
)  # of log(1 + x) / x for 0 <= x <= 1
_ONE, _TWO, _ZERO = np.float32(1), np.float32(2), np.float32(0)
_LOG2_E = np.float32(1 / math.log(2))
# ln 2 in two parts. The last bits of the first are zero, so that its multiples are exact.
_LN2_HIGH = np.float32(0.693359375)
_LN2_LOW = np.float32(math.log(2) - 0.693359375)
_ROUND = np.float32(1.5 * 2**23)  # adding and subtracting it rounds to an integer, which the last bits then hold
_SHIFT, _BIAS = np.int32(23), np.int32(127 << 23)

# "contract" allows fused multiply-adds. Only sums may be reassociated, because vectorizing them requires it; elsewhere
# reassociation would join the two parts of ln 2.
_arithmetic = njit(fastmath={"contract"}, error_model="numpy", inline="always")
_loop = njit(fastmath={"contract"}, error_model="numpy")


@njit(fastmath={"contract", "reassoc", "nsz"})
def _added(total, value):
    return total + value


@_arithmetic
def _exp(x):
    """e^x for x in [-87, 0]."""
    shifted = x * _LOG2_E + _ROUND
    power = shifted - _ROUND
    rest = (x - power * _LN2_HIGH) - power * _LN2_LOW
    value = _ZERO
    for coefficient in _EXP:
        value = value * rest + coefficient
    exponent = np.int32((np.float32(shifted).view(np.int32) << _SHIFT) + _BIAS)
    return value * np.int32(exponent).view(np.float32)


@_arithmetic
def _terms(x, beta):
    """Loss and slope of one element. ``beta`` None means 2 and is compiled without logarithm and power."""
    low = -abs(x)
    low = _LOWEST if low < _LOWEST else low  # NaN stays NaN
    odds = _exp(low)
    far = _ONE / (_ONE + odds)
    near = odds * far
    log = _ZERO
    for coefficient in _LOG1P:
        log = log * odds + coefficient
    log = log * odds
    positive = x > _ZERO
    sigma, rest = (far, near) if positive else (near, far)  # rest = 1 - sigma
    soft = log + (x if positive else _ZERO)
    if beta is None:
        beta, power = _TWO, sigma * sigma
    else:
        exponent = beta * ((_ZERO if positive else x) - log)
        power = _exp(_LOWEST if exponent < _LOWEST else exponent)
    # Clamped, since rest does not fall below e^-87 while soft continues to grow.
    clamped = -_LOWEST if soft > -_LOWEST else soft
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


@njit(error_model="numpy")
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


@kernel(error_model="numpy")
def _serial(logits, weight, gradient, classes, factor, beta):
    """Sum of (B·C, H·W) logits on the calling thread; ``gradient`` is filled if it has that size."""
    wanted = gradient.size > 0
    sums = np.zeros(len(logits))
    nothing = np.empty(0, np.float32)
    for plane in range(len(logits)):
        factors = weight[plane // classes] if weight.size else nothing
        out = gradient[plane] if wanted else np.empty(logits.shape[1], np.float32)
        sums[plane] = _plane(logits[plane], factors, out, factor, beta)
    return sums.sum()


@kernel(error_model="numpy", parallel=True)
def _parallel(logits, weight, gradient, classes, factor, beta):
    """As :func:`_serial` on Numba's threads, with the same rounding. Numba caches by name, hence the duplicate code."""
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
    threads = thread_count()
    if threads > 1:  # with one, OpenMP is never started: processes forked later can still start theirs
        set_threads(threads)
    planes = _parallel if threads > 1 else _serial
    factor, beta = np.float32(work.scale.item()), None if work.beta == 2.0 else np.float32(work.beta)
    nothing = np.empty((0, 0), np.float32)
    sums, gradients = [], []
    for index, level in enumerate(work.logits):
        images, classes, height, width = level.shape
        shape = (images * classes, height * width)
        flat = buffer_pool.empty((level.numel() + 1,), torch.float32, level.device) if work.wanted[index] else None
        out = nothing if flat is None else flat[:-1].numpy().reshape(shape)
        weight = nothing if work.weights is None else work.weights[index].flatten(1).numpy()
        sums.append(planes(level.detach().numpy().reshape(shape), weight, out, classes, factor, beta))
        gradients.append(flat)
    return work.scale * torch.tensor(sums, dtype=torch.float32), gradients
