"""Exponential and logarithm as polynomials, for loops compiled by Numba: unlike calls of a library, they vectorize.

Each result is within a few units in the last place of the exact value. Kernels that use this module name it as one of
their ``sources``; see :mod:`gfl_plugin.ops.numba_kernel`.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

LOWEST = np.float32(-87.0)  # e^x is a normal fp32 number from here on

# fp32 coefficients of the interpolating polynomials at Chebyshev nodes, highest power first. They are written out so
# that the code on disk does not depend on NumPy's version.
EXP = tuple(
    np.float32(value) for value in (0.0013941108, 0.008375126, 0.04166635, 0.16666415, 0.5, 1.0, 1.0)
)  # of e^x for |x| <= ln(2) / 2
LOG1P = tuple(
    np.float32(value)
    for value in (
        *(-0.003176057, 0.019542528, -0.056373615, 0.105436236, -0.15269667),
        *(0.19663274, -0.24951616, 0.3332971, -0.49999893, 1.0),
    )
)  # of log(1 + x) / x for 0 <= x <= 1
_ZERO = np.float32(0)
_LOG2_E = np.float32(1 / math.log(2))
# ln 2 in two parts. The last bits of the first are zero, so that its multiples are exact.
_LN2_HIGH = np.float32(0.693359375)
_LN2_LOW = np.float32(math.log(2) - 0.693359375)
_ROUND = np.float32(1.5 * 2**23)  # adding and subtracting it rounds to an integer, which the last bits then hold
_SHIFT, _BIAS = np.int32(23), np.int32(127 << 23)

# "contract" allows fused multiply-adds. Reassociation would join the two parts of ln 2.
arithmetic = njit(fastmath={"contract"}, error_model="numpy", inline="always")


@arithmetic
def exp(x):
    """e^x for x in [-87, 0]."""
    shifted = x * _LOG2_E + _ROUND
    power = shifted - _ROUND
    rest = (x - power * _LN2_HIGH) - power * _LN2_LOW
    value = _ZERO
    for coefficient in EXP:
        value = value * rest + coefficient
    exponent = np.int32((np.float32(shifted).view(np.int32) << _SHIFT) + _BIAS)
    return value * np.int32(exponent).view(np.float32)


@arithmetic
def log1p(x):
    """log(1 + x) for x in [0, 1]."""
    value = _ZERO
    for coefficient in LOG1P:
        value = value * x + coefficient
    return value * x
