"""The pass over negatives in PyTorch operations, for any device and dtype."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator

import torch
from torch import Tensor

from ...ops import buffer_pool
from ...ops.host_values import on_host
from .negatives import Negatives, Result
from .qfl_terms import quality_terms

# Elements per chunk on a CPU, so that the buffers stay in its cache between operations.
_CHUNK = 1 << 17


def sweep(work: Negatives) -> Result:
    """Loss and gradient of all logits as negatives.

    Args:
        work: the logits with their weights, and the gradients to compute.

    Returns:
        Sums and gradients; see :data:`negatives.Result`.
    """
    device = work.scale.device
    on_cpu = on_host(work.scale)
    # Reading a scalar is free on a CPU; on a GPU it would synchronize.
    factor = work.scale.item() if on_cpu else work.scale
    scratch = _Scratch() if on_cpu else None
    sums, gradients = [], []
    for index, level in enumerate(work.logits):
        flat = buffer_pool.empty((level.numel() + 1,), work.gradient_dtype, device) if work.wanted[index] else None
        gradient = None if flat is None else flat[:-1].view(level.shape)
        weight = None if work.weights is None else work.weights[index]
        total = torch.zeros((), device=device)
        for part in _parts(level.shape, _CHUNK if on_cpu else level.numel()):
            x = level[part]
            part_weight = None if weight is None else weight[part[0], None]
            out = None if gradient is None else gradient[part]
            loss = _negative_chunk(x, part_weight, work.beta, factor, out, scratch) if on_cpu and work.beta else None
            if loss is None:
                loss, slope = quality_terms(x.float(), torch.zeros((), device=device), work.beta)
                if part_weight is not None:
                    loss, slope = loss * part_weight, slope * part_weight
                loss = loss.sum()
                if out is not None:
                    out.copy_(slope * factor)
            total = total + loss
        sums.append(work.scale * total)
        gradients.append(flat)
    return torch.stack(sums), gradients


def _parts(shape: torch.Size, size: int) -> Iterator[tuple[slice, slice]]:
    """Slices of a (B, C, H, W) map with at most about ``size`` elements: whole images, or channels of one image."""
    images, classes, height, width = shape
    area = max(1, height * width)
    together = max(1, size // (classes * area))
    step = classes if together > 1 else max(1, size // area)
    for image in range(0, images, together):
        for label in range(0, classes, step):
            yield slice(image, image + together), slice(label, label + step)


class _Scratch:
    """Buffers that all chunks use one after another, so that they stay in the CPU's cache."""

    def __init__(self) -> None:
        self._memory = torch.empty(5, 0)
        self._views: dict[torch.Size, list[Tensor]] = {}

    def views(self, shape: torch.Size) -> list[Tensor]:
        """Five tensors of a shape with undefined contents."""
        if shape not in self._views:
            if shape.numel() > self._memory.shape[1]:
                self._memory = torch.empty(5, max(shape.numel(), _CHUNK))
                self._views.clear()
            self._views[shape] = [row[: shape.numel()].view(shape) for row in self._memory]
        return self._views[shape]

    @staticmethod
    @functools.lru_cache(maxsize=16)
    def constant(value: float) -> Tensor:
        """A scalar tensor of a value."""
        return torch.tensor(value)


def _negative_chunk(
    logits: Tensor, weight: Tensor | None, beta: float, factor: float, gradient: Tensor | None, scratch: _Scratch
) -> float | None:
    """Loss and gradient of one chunk of negatives, in as few operations as possible.

    With u = e^x: σ = u / (1 + u), l = softplus(x) = log(1 + u); the loss is σ^β·l and its slope
    σ^β·(σ + β·l·(1 - σ)) = β·σ^β·lerp(l, 1/β, σ).

    Args:
        logits: (b, c, H, W) of any float dtype.
        weight: (b, 1, H, W) fp32, or None.
        beta: > 0.
        factor: of the gradient.
        gradient: (b, c, H, W), filled with the gradient times ``factor``; or None.
        scratch: the buffers.

    Returns:
        Sum of the losses; None if a logit is so large (88) that u overflows. The caller must then compute it otherwise.
    """
    x, odds, sigma, soft, power = scratch.views(logits.shape)
    x = logits if logits.dtype == torch.float32 else x.copy_(logits)
    torch.exp(x, out=odds)
    torch.log1p(odds, out=soft)
    torch.add(odds, 1, out=sigma)
    torch.div(odds, sigma, out=sigma)
    if beta == 2.0:
        torch.mul(sigma, sigma, out=power)
    else:
        torch.log(sigma, out=power).mul_(beta).exp_()
    if weight is not None:
        power.mul_(weight)
    # Not torch.dot: some BLAS add in sequence, which loses 1e-5 of the sum on a chunk.
    total = torch.mul(soft, power, out=odds).sum().item()
    if not math.isfinite(total):
        return None
    if gradient is not None:
        slope = torch.lerp(soft, scratch.constant(1 / beta), sigma, out=soft)
        if gradient.dtype == torch.float32:
            torch.addcmul(scratch.constant(0.0), slope, power, value=beta * factor, out=gradient)
        else:
            gradient.copy_(slope.mul_(power).mul_(beta * factor))
    return total
