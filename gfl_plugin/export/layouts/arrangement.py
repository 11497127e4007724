"""Finds out which outputs of a file belong to which level, and where their channels are, from their shapes alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil

import numpy as np

Shape = tuple[int, ...]
ALL_LEVELS = -1  # an output with the locations of all levels, one level after the other
_POWERS = (2, 4, 8, 16, 32, 64, 128)  # strides of networks


@dataclass(frozen=True)
class Placed:
    """An output whose locations are known."""

    name: str
    level: int  # ALL_LEVELS, or the number of the level
    axis: int  # of the channels
    channels: int


@dataclass(frozen=True)
class Arrangement:
    """The outputs in the order of the levels, for certain strides."""

    strides: tuple[int, ...]
    outputs: tuple[tuple[Placed, ...], ...]  # per level, or once for all: one output, or two in the order of the file


def level_sizes(size: tuple[int, int], strides: Sequence[int]) -> list[tuple[int, int]]:
    """Rows and columns of the levels.

    Args:
        size: width and height of the input, pixels.
        strides: of the levels, pixels.

    Returns:
        One (H_l, W_l) per level.
    """
    width, height = size
    return [(ceil(height / stride), ceil(width / stride)) for stride in strides]


def candidate_strides(size: tuple[int, int]) -> list[tuple[int, ...]]:
    """Strides that networks have: powers of two, each twice the one before.

    Args:
        size: width and height of the input, pixels.

    Returns:
        All such strides of an input of this size, the most frequent ones first.
    """
    runs = [
        _POWERS[first : first + count]
        for count in range(1, len(_POWERS) + 1)
        for first in range(len(_POWERS) - count + 1)
    ]
    usual = [run for run in runs if run[0] == 8 and len(run) > 2]
    return [run for run in (*usual, *(one for one in runs if one not in usual)) if run[-1] <= max(size)]


def arranged(
    shapes: Mapping[str, Shape], size: tuple[int, int], strides: Sequence[int], channel_axis: str
) -> Arrangement | None:
    """Place all outputs on levels.

    Args:
        shapes: of the outputs by name, in the order of the file.
        size: width and height of the input, pixels.
        strides: of the levels.
        channel_axis: "first" or "last": where the channels are if the shape does not say it.

    Returns:
        The arrangement; None if an output does not fit the levels, or levels lack outputs.
    """
    sizes = level_sizes(size, strides)
    placed = [_placed(name, shape, sizes, channel_axis) for name, shape in shapes.items()]
    if not placed or None in placed:
        return None
    counts = Counter(one.level for one in placed)
    if set(counts) not in ({ALL_LEVELS}, set(range(len(strides)))) or len(set(counts.values())) != 1:
        return None
    if counts.most_common(1)[0][1] > 2:
        return None
    levels = sorted(counts)
    return Arrangement(tuple(strides), tuple(tuple(one for one in placed if one.level == level) for level in levels))


def _placed(name: str, shape: Shape, sizes: Sequence[tuple[int, int]], channel_axis: str) -> Placed | None:
    """An output on its level; None if no level has its number of locations."""
    found = []
    if len(shape) == 4:
        for level, cells in enumerate(sizes):
            found += [Placed(name, level, axis, shape[axis]) for axis, own in _cells(shape) if own == cells]
    if len(shape) == 3:
        counts = [int(np.prod(one)) for one in sizes]
        levels = [*enumerate(counts), *([(ALL_LEVELS, sum(counts))] if len(counts) > 1 else [])]
        for level, count in levels:
            found += [
                Placed(name, level, axis, shape[axis]) for axis, own in ((2, shape[1]), (1, shape[2])) if own == count
            ]
    preferred = [one for one in found if (one.axis == 1) == (channel_axis == "first")]
    return (preferred or found or [None])[0]


def _cells(shape: Shape) -> tuple[tuple[int, tuple[int, int]], tuple[int, tuple[int, int]]]:
    """The axis of the channels of a (B, ., ., .) array, with the rows and columns that are then left."""
    return (1, (shape[2], shape[3])), (3, (shape[1], shape[2]))
