"""Reads the numbers of all locations from the outputs of a network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from .layout import BIN_MAJOR, Part


def read_parts(outputs: Mapping[str, np.ndarray], parts: Sequence[Part]) -> np.ndarray:
    """Read channels of the first image.

    Args:
        outputs: arrays by name.
        parts: one per level, or one for all levels.

    Returns:
        (A, K): the locations of all levels, row by row, one level after the other.
    """
    rows = []
    for part in parts:
        one = np.moveaxis(outputs[part.output][0], part.axis - 1, -1)
        rows.append(one.reshape(-1, one.shape[-1])[:, part.first : part.first + part.count])
    return np.concatenate(rows)


def split_sides(channels: np.ndarray, bin_order: str) -> np.ndarray:
    """Divide channels among the sides.

    Args:
        channels: (N, 4 * (n+1)).
        bin_order: see :class:`~gfl_plugin.export.layouts.layout.Layout`.

    Returns:
        (N, 4, n+1), left, top, right, bottom.
    """
    bins = channels.shape[1] // 4
    if bin_order == BIN_MAJOR:
        return channels.reshape(-1, bins, 4).transpose(0, 2, 1)
    return channels.reshape(-1, 4, bins)
