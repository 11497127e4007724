"""The pass over negatives on a CPU, compiled by Numba for the processor it runs on: each logit is read once.

PyTorch has no single operation for it, and each of its operations is a sweep over memory or cache. Logistic functions
are polynomials here, which vectorize; each result is within a few units in the last place of the exact value.
"""

from __future__ import annotations

import functools
import math
import os
from collections.abc import Callable

import numba
import numpy as np
import torch
from numba import njit, prange
from numpy.polynomial import Chebyshev, Polynomial

from ...ops import buffer_pool
from .negatives import Negatives, Result

# Two threads may run the pass at once, which Numba's own pool, its default where TBB is missing, does not survive.
numba.config.THREADING_LAYER_PRIORITY = ["omp", "tbb", "workqueue"]

# Whether this process was forked, directly or through others, from one in which Numba had started its threads.
_forked_with_threads = False

_BLOCK = 2048  # elements whose losses are summed in fp32, before they join the rest in fp64
_LOWEST = np.float32(-87.0)  # e^x is a normal fp32 number from here on


def _coefficients(function: Callable, degree: int, low: float, high: float) -> tuple[np.float32, ...]:
    """fp32 coefficients of the interpolating polynomial at Chebyshev nodes, the highest power first."""
    series = Chebyshev.interpolate(function, degree, domain=[low, high])
    return tuple(np.float32(value) for value in series.convert(kind=Polynomial).coef[::-1])


_HALF = math.log(2) / 2
_EXP = _coefficients(np.exp, 6, -_HALF, _HALF)
_LOG1P = _coefficients(lambda x: np.log1p(x) / x, 9, 0.0, 1.0)  # of log(1 + x) / x
_ONE, _ZERO = np.float32(1), np.float32(0)
_LOG2_E = np.float32(1 / math.log(2))
# ln 2 in two parts, the first with zeros in its last bits, so that multiples of it are exact.
_LN2_HIGH = np.float32(0.693359375)
_LN2_LOW = np.float32(math.log(2) - 0.693359375)
_ROUND = np.float32(1.5 * 2**23)  # adding and subtracting it rounds to an integer, which its last bits then hold
_SHIFT, _BIAS = np.int32(23), np.int32(127 << 23)

# "contract" allows fused multiply-adds. Reassociation, which a vector sum needs, is allowed there only: elsewhere it
# would undo the two-part logarithm.
_arithmetic = njit(fastmath={"contract"}, error_model="numpy", inline="always")


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


@njit(fastmath={"contract", "reassoc", "nsz"})
def _added(total, value):
    return total + value


@functools.lru_cache(maxsize=2)
def _span(squared: bool) -> Callable[..., float]:
    """The loop over one plane, for beta = 2 or for any beta."""

    @_arithmetic
    def terms(x, beta):
        """Loss and slope of one element."""
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
        if squared:
            power = sigma * sigma
        else:
            exponent = beta * ((_ZERO if positive else x) - log)
            power = _exp(_LOWEST if exponent < _LOWEST else exponent)
        # Bounded, since rest does not fall below e^-87 while soft grows on.
        bounded = -_LOWEST if soft > -_LOWEST else soft
        return power * soft, power * (sigma + beta * bounded * rest)

    @njit(fastmath={"contract"}, error_model="numpy")
    def block(logits, gradient, factor, beta):
        total = _ZERO
        for i in range(logits.size):
            loss, slope = terms(logits[i], beta)
            gradient[i] = factor * slope
            total = _added(total, loss)
        return total

    @njit(fastmath={"contract"}, error_model="numpy")
    def weighted_block(logits, weight, gradient, factor, beta):
        total = _ZERO
        for i in range(logits.size):
            loss, slope = terms(logits[i], beta)
            gradient[i] = factor * weight[i] * slope
            total = _added(total, weight[i] * loss)
        return total

    @njit(error_model="numpy")
    def span(logits, weight, gradient, factor, beta):
        """A run of elements that lie side by side."""
        total = 0.0
        for start in range(0, logits.size, _BLOCK):
            part = logits[start : start + _BLOCK]
            out = gradient[start : start + _BLOCK]
            if weight.size:
                total += weighted_block(part, weight[start : start + _BLOCK], out, factor, beta)
            else:
                total += block(part, out, factor, beta)
        return total

    return span


@functools.lru_cache(maxsize=4)
def _kernel(squared: bool, parallel: bool) -> Callable[..., float]:
    """The kernel for beta = 2, or for any beta, on all of Numba's threads or on the calling one.

    Both do the same arithmetic; with one thread, results are equal bit for bit.
    """
    span = _span(squared)

    @njit(error_model="numpy", parallel=parallel)
    def planes(logits, weight, gradient, classes, factor, beta):
        """Sum of (B·C, H·W) logits, and their gradient where ``gradient`` has that size."""
        wanted = gradient.size > 0
        sums = np.zeros(len(logits))
        nothing = np.empty(0, np.float32)
        for plane in prange(len(logits)):
            factors = weight[plane // classes] if weight.size else nothing
            out = gradient[plane] if wanted else np.empty(logits.shape[1], np.float32)
            sums[plane] = span(logits[plane], factors, out, factor, beta)
        return sums.sum()

    return planes


def _after_fork_in_child() -> None:
    global _forked_with_threads
    _forked_with_threads = _forked_with_threads or _numba_has_threads()


if hasattr(os, "register_at_fork"):  # not on Windows, which has no fork
    os.register_at_fork(after_in_child=_after_fork_in_child)


def _numba_has_threads() -> bool:
    """Whether Numba has started its threads, here or in a process that this one was forked from."""
    try:
        numba.threading_layer()
    except ValueError:  # raised before the start
        return False
    return True


def _thread_count() -> int:
    """As many threads as PyTorch uses, where Numba can have them; otherwise 1."""
    # A forked child has none of its parent's threads. GNU OpenMP cannot start them again: PyTorch's operations hang
    # there, and Numba ends the process.
    return 1 if _forked_with_threads else min(torch.get_num_threads(), numba.config.NUMBA_NUM_THREADS)


def _set_numba_threads(count: int) -> None:
    """Set Numba's number of threads; PyTorch's stays as it is."""
    before = torch.get_num_threads()
    numba.set_num_threads(count)
    # Both use one OpenMP, which Numba tells to use all cores when it starts. PyTorch would then do so from the first
    # loss on, and round otherwise.
    if torch.get_num_threads() != before:
        torch.set_num_threads(before)


def sweep(work: Negatives) -> Result:
    """See :data:`choice.Result`; fp32 logits on a CPU."""
    threads = _thread_count()
    if threads > 1:  # with one, OpenMP is never started: children forked later may still start theirs
        _set_numba_threads(threads)
    kernel = _kernel(work.beta == 2.0, parallel=threads > 1)
    factor, beta = np.float32(work.scale.item()), np.float32(work.beta)
    nothing = np.empty((0, 0), np.float32)
    sums, gradients = [], []
    for index, level in enumerate(work.logits):
        images, classes, height, width = level.shape
        shape = (images * classes, height * width)
        flat = buffer_pool.empty((level.numel() + 1,), torch.float32, level.device) if work.wanted[index] else None
        out = nothing if flat is None else flat[:-1].numpy().reshape(shape)
        weight = nothing if work.weights is None else work.weights[index].flatten(1).numpy()
        sums.append(kernel(level.detach().numpy().reshape(shape), weight, out, classes, factor, beta))
        gradients.append(flat)
    return work.scale * torch.tensor(sums, dtype=torch.float32), gradients
