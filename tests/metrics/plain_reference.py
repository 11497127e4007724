"""The definitions of the metrics in plain Python, with loops and without NumPy."""

from __future__ import annotations

import math
from collections import defaultdict


def iou(one: list[float], other: list[float]) -> float:
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    if width <= 0 or height <= 0:
        return 0.0
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (one, other)]
    return width * height / (sum(areas) - width * height)


def covered(box: list[float], region: list[float]) -> float:
    """Share of a box that lies in a region."""
    width = min(box[2], region[2]) - max(box[0], region[0])
    height = min(box[3], region[3]) - max(box[1], region[1])
    return max(width, 0) * max(height, 0) / ((box[2] - box[0]) * (box[3] - box[1]))


def true_and_false(samples: list[dict], iou_thr: float, score_thr: float = 0.0) -> dict[int, tuple[list, int]]:
    """Per class, ``(score, IoU or 0)`` of each detection that is not ignored, and the number of objects."""
    found: dict[int, list] = defaultdict(list)
    objects: dict[int, int] = defaultdict(int)
    for sample in samples:
        predicted = {name: values.tolist() for name, values in sample["pred_instances"].items()}
        taken = set()
        for entry in sample["instances"]:
            objects[entry["bbox_label"]] += not entry["ignore_flag"]
        for row in sorted(range(len(predicted["scores"])), key=lambda row: -predicted["scores"][row]):
            score, label, box = (predicted[name][row] for name in ("scores", "labels", "bboxes"))
            if score < score_thr:
                continue
            best, best_iou = None, 0.0
            ignored = False
            for index, entry in enumerate(sample["instances"]):
                if entry["bbox_label"] != label:
                    continue
                if entry["ignore_flag"]:
                    share = covered(box, entry["bbox"])
                    ignored = ignored or (share > 0 and share >= iou_thr)
                elif index not in taken:
                    overlap = iou(box, entry["bbox"])
                    if overlap > 0 and overlap >= max(iou_thr, best_iou):
                        best, best_iou = index, overlap
            if best is not None:
                taken.add(best)
                found[label].append((score, best_iou))
            elif not ignored:
                found[label].append((score, 0.0))
    return {label: (found[label], objects[label]) for label in {*found, *objects}}


def mean(values: list[float]) -> float:
    return sum(values) / len(values) if values else math.nan


def bins_of(pairs: list[tuple[float, float]], bins: int) -> list[list[tuple[float, float]]]:
    parts: list[list] = [[] for _ in range(bins)]
    for score, value in pairs:
        parts[min(int(score * bins), bins - 1)].append((score, value))
    return [part for part in parts if part]


def laece(classes: dict[int, tuple[list, int]], bins: int) -> float:
    errors = []
    for pairs, _ in classes.values():
        if pairs:
            error = 0.0
            for part in bins_of(pairs, bins):
                true = [value for _, value in part if value > 0]
                target = len(true) / len(part) * (mean(true) if true else 0)  # precision × mean IoU
                error += len(part) / len(pairs) * abs(mean([score for score, _ in part]) - target)
            errors.append(error)
    return mean(errors)


def laace(classes: dict[int, tuple[list, int]]) -> float:
    return mean([mean([abs(score - value) for score, value in pairs]) for pairs, _ in classes.values() if pairs])


def dece(classes: dict[int, tuple[list, int]], bins: int) -> float:
    pairs = [pair for one, _ in classes.values() for pair in one]
    error = 0.0
    for part in bins_of(pairs, bins):
        precision = mean([float(value > 0) for _, value in part])
        error += len(part) / len(pairs) * abs(mean([score for score, _ in part]) - precision)
    return error if pairs else math.nan


def lrp(pairs: list[tuple[float, float]], objects: int, iou_thr: float) -> tuple[float, float, float, float]:
    """LRP of one class, and its localization, false positive and false negative components."""
    true = [value for _, value in pairs if value > 0]
    lost = sum(1 - value for value in true)
    false, missed = len(pairs) - len(true), objects - len(true)
    error = (lost / (1 - iou_thr) + false + missed) / (len(true) + false + missed)
    return (
        error,
        lost / len(true) if true else math.nan,
        false / len(pairs) if pairs else math.nan,
        missed / objects,
    )
