"""How well the scores of detections rank their boxes: Spearman's rank correlation of score and IoU."""

from __future__ import annotations

import json
import math
from collections import defaultdict
from pathlib import Path

import numpy as np

from ...metrics.matching import pairwise_overlap
from ...metrics.score_ranking import spearman

RANKING_METRICS = ("ρ", "ρ all")
_MATCHED = 0.5  # minimum IoU of a detection that has found an object


def score_rankings(truth: Path, detections: Path) -> dict[str, float]:
    """Compute Spearman's rank correlation of scores and IoUs, in percent.

    The IoU of a detection is the one with the object of its class that it overlaps most, 0 if there is none. Unlike
    LocalizationQualityMetric, several detections of one object all count as detections of it.

    Args:
        truth: annotations in COCO's format.
        detections: results in COCO's format; the file may be missing.

    Returns:
        ``ρ``: over the detections with an IoU of at least 0.5, which shows how well scores rank boxes that have found
        an object. ``ρ all``: over all detections. A metric with fewer than two different values is left out.
    """
    found = json.loads(detections.read_text()) if detections.exists() else []
    score = np.array([detection["score"] for detection in found])
    iou = _ious(json.loads(truth.read_text())["annotations"], found)
    values = {}
    for name, rows in zip(RANKING_METRICS, (iou >= _MATCHED, np.ones(len(iou), bool))):
        correlation = spearman(score[rows], iou[rows])
        if not math.isnan(correlation):
            values[name] = 100 * correlation
    return values


def _ious(annotations: list[dict], found: list[dict]) -> np.ndarray:
    """(N,) IoU of each detection with the object of its image and class that it overlaps most."""
    objects, rows = defaultdict(list), defaultdict(list)
    for annotation in annotations:
        if not annotation.get("iscrowd"):
            objects[annotation["image_id"], annotation["category_id"]].append(annotation["bbox"])
    for index, detection in enumerate(found):
        rows[detection["image_id"], detection["category_id"]].append(index)
    best = np.zeros(len(found))
    for key, indices in rows.items():
        boxes = _corners([found[index]["bbox"] for index in indices])
        best[indices] = pairwise_overlap(boxes, _corners(objects[key])).max(axis=1, initial=0)
    return best


def _corners(boxes: list[list[float]]) -> np.ndarray:
    """(N, 4) x1, y1, x2, y2 of boxes in COCO's format (x, y, width, height)."""
    array = np.array(boxes, np.float64).reshape(-1, 4)
    return np.concatenate([array[:, :2], array[:, :2] + array[:, 2:]], axis=1)
