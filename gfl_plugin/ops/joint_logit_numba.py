r"""The joint logit on a CPU, compiled by Numba: one pass forward, one backward.

With :math:`d = \zeta(b) - a` and the softplus :math:`\zeta`,

.. math:: J = b - \zeta(d), \qquad \frac{\partial J}{\partial a} = \sigma(d), \qquad
    \frac{\partial J}{\partial b} = \sigma(-d) + \sigma(-b)\,\sigma(d)

b and its functions are computed once per location, so that an element needs one exponential and one logarithm. Backward
computes the exponential again rather than reading it from memory.
"""

from __future__ import annotations

import numpy as np
import torch
from numba import prange
from torch import Tensor
from torch.nn.functional import softplus

from . import buffer_pool, numba_math
from .numba_kernel import inlined
from .numba_loops import threaded
from .numba_math import LOWEST, exp, log1p

_WIDTH = 8192  # locations per task of backward: rows of several pages of memory, whose sums stay in the cache
_ZERO, _ONE = np.float32(0), np.float32(1)
_SOURCES = (numba_math,)

_loop = inlined(fastmath={"contract"})


@_loop
def _joint(cls_logits, near, far, out):
    """``near`` is ζ(-b), ``far`` -b: J = -log(e^(ζ(-b) - a) + e^(-b)), by the larger of both exponents."""
    for i in range(out.size):
        one, other = near[i] - cls_logits[i], far[i]
        distance = -abs(one - other)
        odds = exp(LOWEST if distance < LOWEST else distance)
        out[i] = -(one if one > other else other) - log1p(odds)


@_loop
def _gradient(incoming, cls_logits, near, far, out, sums):
    """Fill ``out``; add dJ/da and 1 - dJ/da, times the incoming gradient, to the rows of ``sums``."""
    for i in range(out.size):
        difference = (near[i] - cls_logits[i]) - far[i]
        distance = -abs(difference)
        odds = exp(LOWEST if distance < LOWEST else distance)
        large = incoming[i] / (_ONE + odds)
        small = large * odds
        slope = large if difference > _ZERO else small
        rest = small if difference > _ZERO else large
        out[i] = slope
        sums[i] += slope
        sums[_WIDTH + i] += rest


@inlined()
def _task_gradient(incoming, cls_logits, near, far, share, out, quality_out, begin, end):
    sums = np.zeros(2 * _WIDTH, np.float32)
    for channel in range(len(out)):
        _gradient(
            incoming[channel][begin:end], cls_logits[channel][begin:end], near[begin:end], far[begin:end],
            out[channel][begin:end], sums,
        )  # fmt: skip
    for i in range(end - begin):
        quality_out[begin + i] = sums[_WIDTH + i] + share[begin + i] * sums[i]


@threaded(sources=_SOURCES)
def _joint_maps(cls_logits, near, far, out):
    """Fill ``out`` (B, C, H·W); ``near`` and ``far`` are (B, H·W)."""
    classes = out.shape[1]
    for plane in prange(len(out) * classes):
        image, label = plane // classes, plane % classes
        _joint(cls_logits[image][label], near[image], far[image], out[image][label])


@threaded(sources=_SOURCES)
def _gradient_maps(incoming, cls_logits, near, far, share, out, quality_out):
    """Fill the gradients ``out`` (B, C, H·W) and ``quality_out`` (B, H·W)."""
    area = out.shape[2]
    parts = (area + _WIDTH - 1) // _WIDTH
    for task in prange(len(out) * parts):
        image, begin = task // parts, task % parts * _WIDTH
        _task_gradient(
            incoming[image], cls_logits[image], near[image], far[image], share[image], out[image], quality_out[image],
            begin, min(begin + _WIDTH, area),
        )  # fmt: skip


def joint_logit(cls_logits: Tensor, quality_logits: Tensor) -> Tensor:
    """Joint logits, differentiable once.

    Args:
        cls_logits: (B, C, H, W) fp32 on a CPU.
        quality_logits: (B, 1, H, W) fp32 on a CPU.

    Returns:
        (B, C, H, W) fp32.
    """
    return _JointLogit.apply(cls_logits, quality_logits)


class _JointLogit(torch.autograd.Function):
    @staticmethod
    def forward(ctx, cls_logits: Tensor, quality_logits: Tensor) -> Tensor:
        ctx.save_for_backward(cls_logits, quality_logits)
        out = buffer_pool.empty(cls_logits.shape, torch.float32, cls_logits.device)
        _joint_maps(_planes(cls_logits), *_of_quality(quality_logits), _planes(out))
        return out

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad: Tensor) -> tuple[Tensor, Tensor]:
        cls_logits, quality_logits = ctx.saved_tensors
        out = buffer_pool.empty(cls_logits.shape, torch.float32, cls_logits.device)
        quality_out = torch.empty(quality_logits.shape)
        share = (-quality_logits).sigmoid().flatten(1).numpy()
        _gradient_maps(
            _planes(grad), _planes(cls_logits), *_of_quality(quality_logits), share, _planes(out),
            quality_out.flatten(1).numpy(),
        )  # fmt: skip
        return out, quality_out


def _planes(maps: Tensor) -> np.ndarray:
    """(B, C, H·W)"""
    return maps.contiguous().flatten(2).numpy()


def _of_quality(quality_logits: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """ζ(-b) and -b, (B, H·W)."""
    opposite = -quality_logits.contiguous().flatten(1)
    return softplus(opposite).numpy(), opposite.numpy()
