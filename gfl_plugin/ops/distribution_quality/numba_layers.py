"""Loops over a block of locations, compiled by Numba: the two layers, and their gradient.

They work on four rows times four rows, so that a loaded element is used four times. :mod:`numba_sides` describes the
arrays.
"""

from __future__ import annotations

import numpy as np

from ..numba_kernel import inlined
from .numba_sides import WIDTH, row, rows

_ZERO = np.float32(0)

_loop = inlined(fastmath={"contract"})
_sums = inlined(fastmath={"contract", "reassoc", "nsz"})


@_loop
def mix(weight, first, column, source, target, count):
    """Add the product of a (4, 4) part of ``weight``, from [first, column] on, and four rows to four others."""
    one, two, three, four = weight[first], weight[first + 1], weight[first + 2], weight[first + 3]
    aa, ab, ac, ad = one[column], one[column + 1], one[column + 2], one[column + 3]
    ba, bb, bc, bd = two[column], two[column + 1], two[column + 2], two[column + 3]
    ca, cb, cc, cd = three[column], three[column + 1], three[column + 2], three[column + 3]
    da, db, dc, dd = four[column], four[column + 1], four[column + 2], four[column + 3]
    for i in range(count):
        a, b, c, d = source[i], source[WIDTH + i], source[2 * WIDTH + i], source[3 * WIDTH + i]
        target[i] = target[i] + aa * a + ab * b + ac * c + ad * d
        target[WIDTH + i] = target[WIDTH + i] + ba * a + bb * b + bc * c + bd * d
        target[2 * WIDTH + i] = target[2 * WIDTH + i] + ca * a + cb * b + cc * c + cd * d
        target[3 * WIDTH + i] = target[3 * WIDTH + i] + da * a + db * b + dc * c + dd * d


@_loop
def _add_four(a, b, c, d, column, target):
    target[column] += a
    target[column + 1] += b
    target[column + 2] += c
    target[column + 3] += d


@_sums
def add_products_of_rows(one, other, out, first, column, count):
    """Add the scalar products of four rows with four others to a (4, 4) part of ``out``."""
    aa = ab = ac = ad = ba = bb = bc = bd = ca = cb = cc = cd = da = db = dc = dd = _ZERO
    for i in range(count):
        a, b, c, d = other[i], other[WIDTH + i], other[2 * WIDTH + i], other[3 * WIDTH + i]
        x = one[i]
        aa, ab, ac, ad = aa + x * a, ab + x * b, ac + x * c, ad + x * d
        x = one[WIDTH + i]
        ba, bb, bc, bd = ba + x * a, bb + x * b, bc + x * c, bd + x * d
        x = one[2 * WIDTH + i]
        ca, cb, cc, cd = ca + x * a, cb + x * b, cc + x * c, cd + x * d
        x = one[3 * WIDTH + i]
        da, db, dc, dd = da + x * a, db + x * b, dc + x * c, dd + x * d
    _add_four(aa, ab, ac, ad, column, out[first])
    _add_four(ba, bb, bc, bd, column, out[first + 1])
    _add_four(ca, cb, cc, cd, column, out[first + 2])
    _add_four(da, db, dc, dd, column, out[first + 3])


@_loop
def add_rectified(hidden, weight, out):
    """Add ``weight`` times a row of the hidden layer, after its ReLU."""
    for i in range(out.size):
        out[i] += weight * (hidden[i] if hidden[i] > _ZERO else _ZERO)


@_sums
def rectified_gradient(hidden, weight, gradient):
    """Replace a row of the hidden layer by its gradient; returns the gradients of its output weight and its bias."""
    of_weight = of_bias = _ZERO
    for i in range(gradient.size):
        active = hidden[i] > _ZERO
        of_weight += hidden[i] * gradient[i] if active else _ZERO
        hidden[i] = weight * gradient[i] if active else _ZERO
        of_bias += hidden[i]
    return of_weight, of_bias


@inlined()
def hidden_rows(statistics, weight, bias, first, hidden, count):
    """Fill four rows of the hidden layer before its ReLU, from ``first`` on."""
    for index in range(4):
        row(hidden, index, count)[:] = bias[first + index]
    for column in range(0, weight.shape[1], 4):
        mix(weight, first, column, rows(statistics, column, 4), hidden, count)
