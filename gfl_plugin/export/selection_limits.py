"""Thresholds that select detections, and what counts as rounding there."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """What decides whether a detection is kept, and how near to it rounding may change the decision."""

    score_threshold: float
    max_per_image: int
    iou_threshold: float
    class_agnostic: bool
    tolerance: float = 1e-4  # of scores and of IoU
    pixels: float = 1e-3  # of boxes
