"""Values of maps at the positives on a CPU, in loops compiled by Numba: rows with their gradient, and highest values.

A positive's channels are one map apart in memory. They are read one positive after another: the processor foresees the
next address of such a walk, and the positives of one object share cache lines.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from numba import prange
from torch import Tensor

from ..ops import buffer_pool
from ..ops.numba_loops import threaded
from ..ops.numba_threads import thread_count

if TYPE_CHECKING:
    from .positives import Positives

_ROWS = 32  # positives per task


@threaded()
def _gather(values, area, image, location, out):
    """Fill ``out`` (P, D) from a flat (B, D, area) map."""
    channels, step = out.shape[1], np.uint64(area)
    for task in prange((len(out) + _ROWS - 1) // _ROWS):
        for row in range(task * _ROWS, min((task + 1) * _ROWS, len(out))):
            element = np.uint64(image[row] * channels * area + location[row])
            for channel in range(channels):
                out[row, channel] = values[element]
                element += step


@threaded()
def _highest(values, channels, area, image, location, out):
    """Fill ``out`` (P,) from a flat (B, channels, area) map; NaN where a value is NaN."""
    step = np.uint64(area)
    for task in prange((len(out) + _ROWS - 1) // _ROWS):
        for row in range(task * _ROWS, min((task + 1) * _ROWS, len(out))):
            element = np.uint64(image[row] * channels * area + location[row])
            best, unordered = values[element], False
            for _ in range(channels):
                value = values[element]
                best = value if value > best else best
                unordered |= value != value
                element += step
            out[row] = np.nan if unordered else best


@threaded()
def _scatter(rows, area, image, location, active, parts, out):
    """Fill a flat (B, D, area) map with zeros, and then with ``rows`` (P, D) where they are active.

    The zeros are written in one large part per thread, since filling much memory at once is twice as fast.
    """
    channels, step = rows.shape[1], np.uint64(area)
    size = (out.size + parts - 1) // parts
    for part in prange(parts):
        out[part * size : (part + 1) * size] = 0
    for task in prange((len(rows) + _ROWS - 1) // _ROWS):
        for row in range(task * _ROWS, min((task + 1) * _ROWS, len(rows))):
            if active[row]:
                element = np.uint64(image[row] * channels * area + location[row])
                for channel in range(channels):
                    out[element] = rows[row, channel]
                    element += step


def gather(maps: Sequence[Tensor], positives: Positives) -> Tensor:
    """Rows of fp32 maps on a CPU, differentiable once; see :func:`.positives.gather_locations`.

    Args:
        maps: L maps (B, D, H, W).
        positives: the locations.

    Returns:
        (P, D).
    """
    return _Gather.apply(positives, *maps)


def highest(maps: Sequence[Tensor], positives: Positives) -> Tensor:
    """Highest values of fp32 maps on a CPU; see :func:`.positives.highest_at_locations`.

    Args:
        maps: L maps (B, D, H, W).
        positives: the locations.

    Returns:
        (P,) without gradient.
    """
    out = torch.empty(len(positives.level))
    for level, (image, location, part) in zip(maps, _per_level(positives, out)):
        channels, area = level.shape[1], level.shape[2] * level.shape[3]
        _highest(_flat(level), channels, area, image, location, part)
    return out


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx, positives: Positives, *maps: Tensor) -> Tensor:
        ctx.positives = positives
        ctx.shapes = [level.shape for level in maps]
        out = buffer_pool.empty((len(positives.level), maps[0].shape[1]), torch.float32, maps[0].device)
        for level, (image, location, part) in zip(maps, _per_level(positives, out)):
            _gather(_flat(level), level.shape[2] * level.shape[3], image, location, part)
        return out

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad: Tensor) -> tuple[Tensor | None, ...]:
        positives: Positives = ctx.positives
        parts, gradients = thread_count(), []
        active = positives.per_level(positives.active)
        for shape, own, (image, location, rows) in zip(ctx.shapes, active, _per_level(positives, grad.contiguous())):
            out = buffer_pool.empty(shape, torch.float32, grad.device)
            _scatter(rows, shape[2] * shape[3], image, location, own.numpy(), parts, _flat(out))
            gradients.append(out)
        return None, *gradients


def _flat(level: Tensor) -> np.ndarray:
    return level.detach().contiguous().view(-1).numpy()


def _per_level(positives: Positives, rows: Tensor) -> list[tuple[np.ndarray, ...]]:
    """Image, location and row of the positives of each level."""
    parts = (positives.per_level(values) for values in (positives.image, positives.location, rows))
    return [tuple(part.numpy() for part in level) for level in zip(*parts)]
