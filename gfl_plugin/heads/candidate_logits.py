"""The few logits that can be among the best of an image's level, found by the maxima of blocks."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from ..ops.backend import Kernels
from ..ops.host_values import on_host

# Logits that are first compared by their maximum only. Reading long blocks is faster; levels with too few of them have
# shorter ones.
_BLOCKS = (128, 32, 8)
# Blocks per wanted logit: with fewer, the best logits often share a block, and many more candidates would be found.
_SPARE = 2


def candidates(values: Tensor, threshold: float, limit: int) -> tuple[Tensor, Tensor]:
    """Logits among which are all that :func:`~.select_topk.select_topk` selects, the same ones in every dtype.

    At least ``limit`` logits of an image reach the ``limit``-th largest maximum of its blocks, so that smaller logits
    are not among its ``limit`` best. Only blocks whose maximum reaches that bound and the threshold are searched.

    Args:
        values: (B, N) logits of each image, of any float dtype.
        threshold: fp32 scores, the logits' sigmoids, must be above it.
        limit: number of wanted scores per image; <= 0 for all.

    Returns:
        (M,) indices into the flattened values, ascending within each image, int64; and (M,) their logits, fp32.
    """
    bound = _below_score(values.new_full((len(values),), threshold, dtype=torch.float64))
    block = next((size for size in _BLOCKS if values.shape[1] // size >= _SPARE * limit), _BLOCKS[0])
    blocks = values[:, : values.shape[1] // block * block].unflatten(1, (-1, block))  # (B, N / block, block)
    maxima = blocks.amax(dim=2)
    if 0 < _SPARE * limit <= maxima.shape[1]:
        sure = _largest(maxima.masked_fill(maxima.isnan(), -math.inf), limit)
        bound = torch.maximum(bound, _below_score(sure.double().sigmoid()))
    # A CPU computes sigmoids in vectors and the remaining elements one by one; the results differ in the last bit.
    # Scores are equal in every dtype and with every backend only if the same logits are in the same places.
    return _ABOVE.for_tensor(values)(values, block, maxima, bound)


def _largest(values: Tensor, number: int) -> Tensor:
    """(B, M) values without NaN -> (B,) the number-th largest of each row."""
    if values.dtype == torch.float32 and on_host(values):  # NumPy takes a tenth of the time
        place = values.shape[1] - number
        return torch.from_numpy(np.partition(values.numpy(), place, axis=1)[:, place])
    return values.topk(number, dim=1, sorted=False).values.amin(dim=1)


def _below_score(score: Tensor) -> Tensor:
    """(B,) fp64 numbers below every logit whose fp32 sigmoid is at least a score."""
    # Scores are compared with a threshold rounded to fp32, and the sigmoid is off by a few units in the last place
    # of fp32: 6e-8 of its value, or 1e-45 where that is more. Near 1 this is a wide range of logits.
    score = score * (1 - 1e-5) - 1e-38
    return torch.where(score > 0, score.clamp(max=1 - 1e-5).logit(), -math.inf)


def _below(bound: Tensor, dtype: torch.dtype) -> Tensor:
    """(B,) slightly lower bounds of a dtype: rounding them, or logits, to it or to fp32 keeps logits above them."""
    coarser = torch.finfo(torch.float32 if dtype == torch.float64 else dtype)
    # Numbers around the bound are at most this far apart.
    lower = bound - coarser.eps * bound.abs().clamp(min=coarser.tiny)
    return torch.where(bound.isfinite(), lower, bound).to(dtype)


def _above(values: Tensor, size: int, maxima: Tensor, bound: Tensor) -> tuple[Tensor, Tensor]:
    """Values that are at least the bounds of their rows.

    Args:
        values: (B, N) of any float dtype.
        size: of a block.
        maxima: (B, M) of each row's blocks, which may leave a rest of less than a block; NaN for a block with a NaN.
        bound: (B,) fp64; values are compared with it as fp32 numbers.

    Returns:
        (K,) indices into the flattened values, int64, and (K,) values, fp32: those in blocks, then those in the rests,
        ascending.
    """
    row, lower = values.shape[1], _below(bound, values.dtype)
    blocks = values[:, : maxima.shape[1] * size].unflatten(1, (-1, size))
    image, block = (~(maxima < lower[:, None])).nonzero(as_tuple=True)
    found, place = (blocks[image, block] >= lower[image, None]).nonzero(as_tuple=True)
    inside = image[found] * row + block[found] * size + place
    image, place = (values[:, maxima.shape[1] * size :] >= lower[:, None]).nonzero(as_tuple=True)
    index = torch.cat([inside, image * row + maxima.shape[1] * size + place])
    value = values.reshape(-1)[index].float()
    near = value >= bound.float()[torch.div(index, row, rounding_mode="floor")]
    return index[near], value[near]


_ABOVE = Kernels(torch=_above, numba="gfl_plugin.heads.candidate_logits_numba:above")
