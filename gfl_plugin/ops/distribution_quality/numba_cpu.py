"""Distribution-guided quality on a CPU, compiled by Numba: box logits are read once, and no other map is written.

In PyTorch operations, probabilities, their statistics and the hidden layer are maps in memory. Here they exist for a
block of locations at a time, in the processor's cache; backward computes them again.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from numba import prange
from torch import Tensor

from .. import buffer_pool, numba_math
from ..numba_kernel import inlined
from ..numba_loops import threaded
from . import numba_layers, numba_sides
from .inputs import QualityLayers, Statistics
from .numba_layers import add_products_of_rows, add_rectified, hidden_rows, mix, rectified_gradient
from .numba_sides import WIDTH, row, rows, side_gradient, side_statistics

_TASK = 4 * WIDTH  # locations per task of a thread; a task's weight gradients are summed in fp32
_ZERO = np.float32(0)
_SOURCES = (numba_layers, numba_math, numba_sides)


@inlined()
def _task(logits, begin, end, layers, out_bias, settings, out):
    """Fill ``out`` (H·W,) with the quality logits of locations from ``begin`` to ``end``.

    ``logits`` is (4·(n+1), H·W); ``layers`` are weight, bias and weight of the output; ``settings`` are the fields of
    Statistics.
    """
    weight, bias, out_weight = layers
    topk = settings[0]
    bins, size = len(logits) // 4, weight.shape[1] // 4
    top = np.empty((topk + 3) // 4 * 4 * WIDTH, np.float32)
    inverse, probability = np.empty(WIDTH, np.float32), np.empty(topk * WIDTH, np.float32)
    statistics, hidden = np.empty(4 * size * WIDTH, np.float32), np.empty(4 * WIDTH, np.float32)
    for start in range(begin, end, WIDTH):
        result = out[start : min(start + WIDTH, end)]
        count = result.size
        for side in range(4):
            part = rows(statistics, side * size, size)
            side_statistics(logits, side * bins, bins, start, count, settings, top, inverse, probability, part)
        result[:] = out_bias
        for first in range(0, len(weight), 4):
            hidden_rows(statistics, weight, bias, first, hidden, count)
            for index in range(4):
                add_rectified(row(hidden, index, count), out_weight[first + index], result)


@inlined()
def _task_gradient(logits, begin, end, layers, settings, gradient, of_logits, of_weight, of_bias, of_out_weight):
    """Fill ``of_logits`` at locations from ``begin`` to ``end``; add to the gradients of the layers."""
    weight, bias, out_weight = layers
    transposed = weight.T.copy()
    topk = settings[0]
    bins, size = len(logits) // 4, weight.shape[1] // 4
    ranks = (topk + 3) // 4 * 4
    top = np.empty(4 * ranks * WIDTH, np.float32)
    inverse, probability = np.empty(4 * WIDTH, np.float32), np.empty(4 * topk * WIDTH, np.float32)
    statistics, hidden = np.empty(4 * size * WIDTH, np.float32), np.empty(4 * WIDTH, np.float32)
    of_statistics = np.empty(4 * size * WIDTH, np.float32)
    for start in range(begin, end, WIDTH):
        incoming = gradient[start : min(start + WIDTH, end)]
        count = incoming.size
        for side in range(4):
            side_statistics(
                logits, side * bins, bins, start, count, settings, rows(top, side * ranks, ranks),
                rows(inverse, side, 1), rows(probability, side * topk, topk), rows(statistics, side * size, size),
            )  # fmt: skip
        of_statistics[:] = _ZERO
        for first in range(0, len(weight), 4):
            hidden_rows(statistics, weight, bias, first, hidden, count)
            for index in range(4):
                sums = rectified_gradient(row(hidden, index, count), out_weight[first + index], incoming)
                of_out_weight[first + index] += sums[0]
                of_bias[first + index] += sums[1]
            for column in range(0, weight.shape[1], 4):
                add_products_of_rows(hidden, rows(statistics, column, 4), of_weight, first, column, count)
                mix(transposed, column, first, hidden, rows(of_statistics, column, 4), count)
        for side in range(4):
            side_gradient(
                logits, side * bins, bins, start, count, settings, rows(top, side * ranks, ranks),
                rows(inverse, side, 1), rows(probability, side * topk, topk), rows(of_statistics, side * size, size),
                of_logits,
            )  # fmt: skip


@threaded(sources=_SOURCES)
def _quality_maps(logits, layers, out_bias, settings, out):
    """Fill ``out`` (B, H·W) from logits (B, 4·(n+1), H·W)."""
    area = out.shape[1]
    parts = (area + _TASK - 1) // _TASK
    for task in prange(len(out) * parts):
        image, begin = task // parts, task % parts * _TASK
        _task(logits[image], begin, min(begin + _TASK, area), layers, out_bias, settings, out[image])


@threaded(sources=_SOURCES)
def _gradient_maps(logits, layers, settings, gradient, of_logits, of_weight, of_bias, of_out_weight):
    """Fill ``of_logits``, and the gradients of the layers from each task in a row of their own."""
    area = gradient.shape[1]
    parts = (area + _TASK - 1) // _TASK
    for task in prange(len(gradient) * parts):
        image, begin = task // parts, task % parts * _TASK
        _task_gradient(
            logits[image], begin, min(begin + _TASK, area), layers, settings, gradient[image], of_logits[image],
            of_weight[task], of_bias[task], of_out_weight[task],
        )  # fmt: skip


def forward(box_logits: Tensor, layers: QualityLayers, statistics: Statistics) -> Tensor:
    """Quality logits.

    Args:
        box_logits: (B, 4·(n+1), H, W) fp32 on a CPU.
        layers: the layers, fp32.
        statistics: what they are told of each side.

    Returns:
        (B, 1, H, W) fp32.
    """
    images, _, height, width = box_logits.shape
    out = torch.empty(images, 1, height, width)
    _quality_maps(
        _planes(box_logits), _arrays(layers), layers.out_bias.item(), _settings(statistics), out.flatten(1).numpy()
    )
    return out


def backward(
    box_logits: Tensor, layers: QualityLayers, statistics: Statistics, gradient: Tensor
) -> tuple[Tensor, QualityLayers]:
    """Gradients of box logits and layers.

    Args:
        box_logits: as in :func:`forward`.
        layers: as in :func:`forward`.
        statistics: as in :func:`forward`.
        gradient: (B, 1, H, W) fp32, of the quality logits.

    Returns:
        The gradient of the box logits; those of the layers' parameters.
    """
    arrays, planes = _arrays(layers), _planes(box_logits)
    incoming = gradient.contiguous().flatten(1).numpy()
    of_logits = buffer_pool.empty(box_logits.shape, torch.float32, box_logits.device)
    tasks = len(planes) * math.ceil(planes.shape[2] / _TASK)
    sums = [np.zeros((tasks, *array.shape), np.float32) for array in arrays]
    _gradient_maps(planes, arrays, _settings(statistics), incoming, of_logits.flatten(2).numpy(), *sums)
    hidden = len(layers.bias)
    weight, bias, out_weight = (torch.from_numpy(part.sum(axis=0, dtype=np.float64)[:hidden]).float() for part in sums)
    return of_logits, QualityLayers(
        weight.view(layers.weight.shape),
        bias,
        out_weight.view(layers.out_weight.shape),
        gradient.double().sum().float().view(1),
    )


def _planes(maps: Tensor) -> np.ndarray:
    return maps.contiguous().flatten(2).numpy()


def _arrays(layers: QualityLayers) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Weight, bias and weight of the output, with zeros up to a multiple of four hidden channels."""
    missing = -len(layers.bias) % 4
    weight = np.pad(layers.weight.flatten(1).numpy(), ((0, missing), (0, 0)))
    return (weight, *(np.pad(part.flatten().numpy(), (0, missing)) for part in (layers.bias, layers.out_weight)))


def _settings(statistics: Statistics) -> tuple[int, bool, bool, bool]:
    return statistics.topk, statistics.values, statistics.mean, statistics.variance
