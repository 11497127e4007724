"""How well the scores of detections rank their boxes: Spearman's rank correlation of score and IoU."""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path

import numpy as np

RANKING_METRICS = ("ρ", "ρ all")
_MATCHED = 0.5  # minimum IoU of a detection that has found an object


def score_rankings(truth: Path, detections: Path) -> dict[str, float]:
    """Compute Spearman's rank correlation of scores and IoUs, in percent.

    The IoU of a detection is the one with the object of its class that it overlaps most, 0 if there is none.

    Args:
        truth: annotations in COCO's format.
        detections: results in COCO's format; the file may be missing.

    Returns:
        ``ρ``: over the detections with an IoU of at least 0.5, which shows how well scores rank boxes that have found
        an object. ``ρ all``: over all detections. A metric with fewer than two different values is left out.
    """
    from scipy.stats import spearmanr

    found = json.loads(detections.read_text()) if detections.exists() else []
    score = np.array([detection["score"] for detection in found])
    iou = _ious(json.loads(truth.read_text())["annotations"], found)
    values = {}
    for name, rows in zip(RANKING_METRICS, (iou >= _MATCHED, np.ones(len(iou), bool))):
        if len(np.unique(score[rows])) > 1 and len(np.unique(iou[rows])) > 1:
            values[name] = 100 * float(spearmanr(score[rows], iou[rows]).statistic)
    return values


def _ious(annotations: list[dict], found: list[dict]) -> np.ndarray:
    """(N,) IoU of each detection with the object of its image and class that it overlaps most."""
    from pycocotools import mask

    objects, rows = defaultdict(list), defaultdict(list)
    for annotation in annotations:
        if not annotation.get("iscrowd"):
            objects[annotation["image_id"], annotation["category_id"]].append(annotation["bbox"])
    for index, detection in enumerate(found):
        rows[detection["image_id"], detection["category_id"]].append(index)
    best = np.zeros(len(found))
    for key, indices in rows.items():
        if objects[key]:
            boxes = np.array([found[index]["bbox"] for index in indices], dtype=np.float64)
            true = np.array(objects[key], dtype=np.float64)
            best[indices] = np.asarray(mask.iou(boxes, true, [0] * len(true))).max(axis=1)
    return best
