"""Loops over a block of locations, compiled by Numba: the statistics of one side's distribution, and their gradient.

A block has up to ``WIDTH`` locations. Its arrays are flat, with rows of ``WIDTH`` elements one after the other. Since
the distance between rows is constant, the compiler can prove that they do not overlap, as vectorization requires.

"""

from __future__ import annotations

import numpy as np

from ..numba_kernel import inlined
from ..numba_math import LOWEST, arithmetic, exp

WIDTH = 512  # locations per block, so that all its arrays stay in the processor's cache
_ZERO, _ONE, _TWO = np.float32(0), np.float32(1), np.float32(2)
_LEAST, _NONE = np.float32(-np.inf), np.float32(np.nan)  # less than, and equal to no logit

_loop = inlined(fastmath={"contract"})


@arithmetic
def _exp(x):
    """e^x for x <= 0; below -87 it is e^-87."""
    return exp(LOWEST if x < LOWEST else x)  # NaN stays NaN


@inlined()
def rows(array, first, number):
    """Rows of a block's array, the distance between them included."""
    return array[first * WIDTH : (first + number) * WIDTH]


@inlined()
def row(array, index, count):
    return array[index * WIDTH : index * WIDTH + count]


@_loop
def _insert(one, other, top, carry):
    """Insert two values per location into four rows in descending order; two rows ``carry`` get what falls out."""
    for i in range(one.size):
        a, b, c, d = top[i], top[WIDTH + i], top[2 * WIDTH + i], top[3 * WIDTH + i]
        x, y = one[i], other[i]
        a, x = (x, a) if x > a else (a, x)
        b, x = (x, b) if x > b else (b, x)
        c, x = (x, c) if x > c else (c, x)
        d, x = (x, d) if x > d else (d, x)
        a, y = (y, a) if y > a else (a, y)
        b, y = (y, b) if y > b else (b, y)
        c, y = (y, c) if y > c else (c, y)
        d, y = (y, d) if y > d else (d, y)
        top[i], top[WIDTH + i], top[2 * WIDTH + i], top[3 * WIDTH + i] = a, b, c, d
        carry[i], carry[WIDTH + i] = x, y


@_loop
def _take(values, top, gradient, rest, out):
    """Add the gradient of each value's rank in four rows. Equal values take one rank each, since ranks are used up."""
    for i in range(values.size):
        x, found = values[i], _ZERO
        a, b, c, d = top[i], top[WIDTH + i], top[2 * WIDTH + i], top[3 * WIDTH + i]
        found = gradient[i] if x == a else found
        top[i] = _NONE if x == a else a
        x = _NONE if x == a else x
        found = gradient[WIDTH + i] if x == b else found
        top[WIDTH + i] = _NONE if x == b else b
        x = _NONE if x == b else x
        found = gradient[2 * WIDTH + i] if x == c else found
        top[2 * WIDTH + i] = _NONE if x == c else c
        x = _NONE if x == c else x
        found = gradient[3 * WIDTH + i] if x == d else found
        top[3 * WIDTH + i] = _NONE if x == d else d
        rest[i] = _NONE if x == d else x
        out[i] += found


@_loop
def _add_exponentials(values, highest, total):
    for i in range(values.size):
        total[i] += _exp(values[i] - highest[i])


@_loop
def _invert(values):
    for i in range(values.size):
        values[i] = _ONE / values[i]


@_loop
def _probability(values, highest, inverse, out):
    for i in range(out.size):
        out[i] = _exp(values[i] - highest[i]) * inverse[i]


@_loop
def _softmax_gradient(values, highest, inverse, gradient, expected, out):
    for i in range(out.size):
        out[i] = _exp(values[i] - highest[i]) * inverse[i] * (gradient[i] - expected[i])


@_loop
def _add(values, target):
    for i in range(values.size):
        target[i] += values[i]


@_loop
def _add_product(values, others, target):
    for i in range(values.size):
        target[i] += values[i] * others[i]


@_loop
def _add_square(values, center, factor, target):
    for i in range(values.size):
        target[i] += factor * (values[i] - center[i]) * (values[i] - center[i])


@_loop
def _add_slope(values, center, gradient, factor, target):
    for i in range(values.size):
        target[i] += factor * (values[i] - center[i]) * gradient[i]


@_loop
def _scale(factor, target):
    for i in range(target.size):
        target[i] *= factor


@inlined()
def _average(probability, topk, out):
    """Mean of the k probabilities."""
    out[:] = _ZERO
    for rank in range(topk):
        _add(row(probability, rank, out.size), out)
    _scale(_ONE / np.float32(topk), out)


@inlined()
def side_statistics(logits, first_bin, bins, start, count, settings, top, inverse, probability, statistics):
    """Fill ``statistics`` (D rows) of one side.

    Read are ``count`` locations of the planes of its bins. Also filled are ``top``, the largest logits in a multiple of
    four rows; ``inverse``, 1 / the sum of exponentials; and ``probability``, k rows.
    """
    topk, values, mean, variance = settings
    top[:] = _LEAST
    carry, least = np.empty(2 * WIDTH, np.float32), np.full(count, _LEAST)
    end = start + count
    for bin in range(first_bin, first_bin + bins, 2):
        other = logits[bin + 1][start:end] if bin + 1 < first_bin + bins else least
        _insert(logits[bin][start:end], other, rows(top, 0, 4), carry)
        for first in range(4, top.size // WIDTH, 4):
            _insert(row(carry, 0, count), row(carry, 1, count), rows(top, first, 4), carry)
    inverse[:] = _ZERO
    for bin in range(first_bin, first_bin + bins):
        _add_exponentials(logits[bin][start:end], top, inverse)
    _invert(inverse)
    for rank in range(topk):
        _probability(row(top, rank, count), top, inverse, row(probability, rank, count))
    filled = 0
    if values:
        statistics[: topk * WIDTH] = probability
        filled = topk
    if mean:
        _average(probability, topk, row(statistics, filled, count))
        filled += 1
    if variance:
        average, spread = np.empty(count, np.float32), row(statistics, filled, count)
        _average(probability, topk, average)
        spread[:] = _ZERO
        for rank in range(topk):
            _add_square(row(probability, rank, count), average, _ONE / np.float32(topk), spread)


@inlined()
def side_gradient(logits, first_bin, bins, start, count, settings, top, inverse, probability, gradient, out):
    """Fill ``out``, planes as ``logits``, at one side's bins; ``gradient`` is that of statistics. ``top`` changes."""
    topk, values, mean, variance = settings
    share = _ONE / np.float32(topk)
    ranks = np.zeros(top.size, np.float32)  # gradients of the k probabilities, and zeros
    filled = 0
    if values:
        ranks[: topk * WIDTH] = rows(gradient, 0, topk)
        filled = topk
    if mean:
        part = row(gradient, filled, count)
        _scale(share, part)
        for rank in range(topk):
            _add(part, row(ranks, rank, count))
        filled += 1
    if variance:
        average, part = np.empty(count, np.float32), row(gradient, filled, count)
        _average(probability, topk, average)
        for rank in range(topk):
            _add_slope(row(probability, rank, count), average, part, _TWO * share, row(ranks, rank, count))
    expected = np.zeros(count, np.float32)
    for rank in range(topk):
        _add_product(row(probability, rank, count), row(ranks, rank, count), expected)
    highest, rest = row(top, 0, count).copy(), np.empty(count, np.float32)
    own = np.empty(count, np.float32)
    for bin in range(first_bin, first_bin + bins):
        part = logits[bin][start : start + count]
        own[:] = _ZERO
        _take(part, rows(top, 0, 4), rows(ranks, 0, 4), rest, own)
        for first in range(4, top.size // WIDTH, 4):
            _take(rest, rows(top, first, 4), rows(ranks, first, 4), rest, own)
        _softmax_gradient(part, highest, inverse, own, expected, out[bin][start : start + count])
