"""Turns the outputs of a network into boxes with distributions of their sides, in pixels of the image."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ...structures.side_fields import BBOX_DISTRIBUTIONS, BBOX_POINTS, BBOX_STD
from .arrangement import level_sizes
from .frame import Frame
from .layout import LOGITS, Layout
from .parts import read_parts, split_sides

_OUTWARD = np.array([-1.0, -1.0, 1.0, 1.0])  # direction of left, top, right, bottom


@dataclass(frozen=True)
class Found:
    """N detections of an image, the best first. Lengths are pixels of the image."""

    boxes: np.ndarray  # (N, 4) float64 x1, y1, x2, y2, clipped to the image
    scores: np.ndarray  # (N,) float64
    labels: np.ndarray  # (N,) int64
    std: np.ndarray | None = None  # (N, 4) float64 standard deviations of left, top, right, bottom
    distributions: np.ndarray | None = None  # (N, 4, n+1) float64 probabilities of the bins
    points: np.ndarray | None = None  # (N, 4) float64 x, y of the location, and pixels per stride along x and y

    def rows(self, index: np.ndarray) -> Found:
        """Some of the detections.

        Args:
            index: of them.

        Returns:
            These detections.
        """
        return Found(**{name: None if values is None else values[index] for name, values in vars(self).items()})

    def fields(self) -> dict[str, np.ndarray]:
        """The detections under the names that results of MMDetection have.

        Returns:
            Arrays by name.
        """
        fields = {
            "bboxes": self.boxes,
            "scores": self.scores,
            "labels": self.labels,
            BBOX_STD: self.std,
            BBOX_DISTRIBUTIONS: self.distributions,
            BBOX_POINTS: self.points,
        }
        return {name: values for name, values in fields.items() if values is not None}


def decode(outputs: Mapping[str, np.ndarray], layout: Layout, frame: Frame) -> Found:
    """Decode the best scores of each level.

    Args:
        outputs: of the network, arrays by name.
        layout: their meaning.
        frame: where the image lies in the input.

    Returns:
        Detections with scores above the threshold, at most ``topk`` per level, and of at least the smallest
        size, before NMS.

    Raises:
        ValueError: if the outputs do not have the locations of this input.
    """
    sizes = level_sizes(frame.size, layout.strides)
    scores = _scores(outputs, layout)
    ends = np.cumsum([rows * columns for rows, columns in sizes])
    if len(scores) != ends[-1]:
        raise ValueError(f"the outputs have {len(scores)} locations; an input of {frame.size} has {ends[-1]}")
    chosen, labels = _best(scores, ends, layout)
    sides = split_sides(read_parts(outputs, layout.sides)[chosen].astype(np.float64), layout.bin_order)
    probabilities = softmax(sides) if layout.sides_are == LOGITS else sides
    bins = np.array(layout.bins)
    mean = probabilities @ bins  # (N, 4) strides
    std = np.sqrt((probabilities * np.square(bins - mean[..., None])).sum(axis=-1))
    centers, strides = _locations(sizes, layout)
    points = frame.to_image(centers[chosen])  # (N, 2)
    pixels = strides[chosen, None] / frame.scale  # (N, 2) of the image, per stride
    boxes = np.tile(points, 2) + _OUTWARD * mean * np.tile(pixels, 2)
    boxes = np.clip(boxes, 0, np.tile(frame.image, 2))
    found = Found(
        boxes=boxes,
        scores=scores[chosen, labels].astype(np.float64),
        labels=labels,
        std=std * np.tile(pixels, 2),
        distributions=probabilities,
        points=np.concatenate([points, pixels], axis=1),
    )
    kept = found.rows(np.flatnonzero((boxes[:, 2:] - boxes[:, :2] > layout.min_box_size).all(axis=1)))
    return kept.rows(np.argsort(-kept.scores, kind="stable"))


def softmax(logits: np.ndarray) -> np.ndarray:
    """Softmax over the last axis.

    Args:
        logits: of any shape.

    Returns:
        Probabilities of the same shape.
    """
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True, initial=-np.inf))
    return powers / powers.sum(axis=-1, keepdims=True)


def _scores(outputs: Mapping[str, np.ndarray], layout: Layout) -> np.ndarray:
    """(A, C) probabilities."""
    scores = read_parts(outputs, layout.scores)
    if layout.scores_are == LOGITS:
        scores = _sigmoid(scores)
    return scores * _sigmoid(read_parts(outputs, layout.quality)) if layout.quality else scores


def _sigmoid(values: np.ndarray) -> np.ndarray:
    return 0.5 * (1 + np.tanh(0.5 * values))  # does not overflow


def _best(scores: np.ndarray, ends: np.ndarray, layout: Layout) -> tuple[np.ndarray, np.ndarray]:
    """Locations and classes of the best scores of each level."""
    chosen, labels = [], []
    for first, last in zip([0, *ends[:-1]], ends):
        flat = scores[first:last].ravel()
        places = np.flatnonzero(flat > layout.score_threshold)
        places = places[np.argsort(-flat[places], kind="stable")[: layout.topk]]
        chosen.append(first + places // layout.class_count)
        labels.append(places % layout.class_count)
    return np.concatenate(chosen), np.concatenate(labels)


def _locations(sizes: list[tuple[int, int]], layout: Layout) -> tuple[np.ndarray, np.ndarray]:
    """(A, 2) x, y of all locations in the input, and (A,) their strides, pixels."""
    centers, strides = [], []
    for (rows, columns), stride in zip(sizes, layout.strides):
        y, x = np.divmod(np.arange(rows * columns), columns)
        centers.append((np.stack([x, y], axis=1) + layout.offset) * stride)
        strides.append(np.full(rows * columns, float(stride)))
    return np.concatenate(centers), np.concatenate(strides)
