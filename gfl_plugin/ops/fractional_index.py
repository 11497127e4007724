r"""Positions of numbers between increasing bins.

.. math:: p(y) = i + \frac{y - y_i}{y_{i+1} - y_i}, \qquad y_i \le y \le y_{i+1}

A distribution with the probabilities :math:`1 - (p - i)` and :math:`p - i` on the bins i and i + 1 has the mean y.
"""

from __future__ import annotations

import torch
from torch import Tensor


def fractional_index(values: Tensor, bins: Tensor) -> Tensor:
    """Position of each value on the bins, by linear interpolation between its two neighbors.

    Args:
        values: any shape; integers and half precision are computed in fp32.
        bins: (n + 1,) increasing, n >= 1.

    Returns:
        Indices of the shape of ``values``, fractions included: i at bin i. A value outside the bins is extrapolated
        from the two nearest bins, so that its index is < 0 or > n. NaN for NaN.
    """
    dtype = torch.promote_types(values.dtype, torch.float32)
    values, bins = values.to(dtype).contiguous(), bins.to(values.device, dtype)
    left = (torch.searchsorted(bins, values, right=True) - 1).clamp(min=0, max=len(bins) - 2)
    low, high = bins[left], bins[left + 1]
    return left + (values - low) / (high - low)
