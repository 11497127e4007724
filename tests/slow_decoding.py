"""Boxes from the outputs of a head, one location after the other, independently of the package."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Rules:
    """The meaning of the numbers, and what is kept."""

    strides: tuple[int, ...]
    offset: float
    bins: tuple[float, ...]
    threshold: float
    topk: int
    iou: float
    limit: int


@dataclass(frozen=True)
class Placement:
    """Where the image lies in the input: pixels of the input per pixel of the image, and the place of its corner."""

    width: int
    height: int
    scale: tuple[float, float]
    corner: tuple[float, float]


@dataclass(frozen=True)
class Slow:
    """One detection."""

    score: float
    label: int
    box: tuple[float, ...]
    std: tuple[float, ...]
    distributions: tuple[tuple[float, ...], ...]


def slow_detections(levels: Sequence[tuple[np.ndarray, np.ndarray]], rules: Rules, placement: Placement) -> list[Slow]:
    """Detections from (C, H, W) score logits and (4 * bins, H, W) side logits of each level."""
    found = []
    for stride, (scores, sides) in zip(rules.strides, levels):
        candidates = []
        for label, y, x in np.ndindex(*scores.shape):
            score = 1 / (1 + math.exp(-float(scores[label, y, x])))
            if score > rules.threshold:
                candidates.append((score, label, y, x))
        candidates.sort(key=lambda one: -one[0])
        for score, label, y, x in candidates[: rules.topk]:
            found.append(_decoded(score, label, sides[:, y, x], (x, y), stride, rules, placement))
    found = [one for one in found if one.box[2] > one.box[0] and one.box[3] > one.box[1]]
    return _without_overlap(sorted(found, key=lambda one: -one.score), rules)


def _decoded(
    score: float, label: int, logits: np.ndarray, cell: tuple[int, int], stride: int, rules: Rules, place: Placement
) -> Slow:
    center = [(one + rules.offset) * stride for one in cell]
    count = len(rules.bins)
    box, stds, distributions = [], [], []
    for side in range(4):  # left, top, right, bottom
        own = [float(one) for one in logits[side * count : (side + 1) * count]]
        powers = [math.exp(one - max(own)) for one in own]
        probabilities = [one / sum(powers) for one in powers]
        mean = sum(p * d for p, d in zip(probabilities, rules.bins))
        variance = sum(p * (d - mean) ** 2 for p, d in zip(probabilities, rules.bins))
        axis = side % 2
        inside = center[axis] + (mean if side > 1 else -mean) * stride
        pixel = (inside - place.corner[axis]) / place.scale[axis]
        box.append(min(max(pixel, 0.0), (place.width, place.height)[axis]))
        stds.append(math.sqrt(variance) * stride / place.scale[axis])
        distributions.append(tuple(probabilities))
    return Slow(score, label, tuple(box), tuple(stds), tuple(distributions))


def _without_overlap(found: list[Slow], rules: Rules) -> list[Slow]:
    kept: list[Slow] = []
    for one in found:
        if all(one.label != other.label or _iou(one.box, other.box) <= rules.iou for other in kept):
            kept.append(one)
    return kept[: rules.limit]


def _iou(one: tuple[float, ...], other: tuple[float, ...]) -> float:
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    common = max(width, 0) * max(height, 0)
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (one, other)]
    return common / (sum(areas) - common)
