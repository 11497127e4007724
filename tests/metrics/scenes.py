"""Random images with objects, crowds and detections, as MMEngine's evaluator passes them to a metric."""

from __future__ import annotations

import numpy as np
import torch

CLASSES = 3


def random_boxes(random: np.random.Generator, count: int, grid: bool) -> np.ndarray:
    """(N, 4) boxes of up to 60 px that overlap each other; on a grid of 5 px, many of their IoUs are equal."""
    corner, size = random.uniform(0, 60, (count, 2)), random.uniform(8, 60, (count, 2))
    boxes = np.concatenate([corner, corner + size], axis=1)
    return 5 * np.round(boxes / 5) if grid else boxes


def detections_near(random: np.random.Generator, objects: np.ndarray, count: int, grid: bool) -> np.ndarray:
    """(N, 4) boxes, two thirds of them near objects."""
    boxes = random_boxes(random, count, grid)
    if len(objects):
        near = random.random(count) < 2 / 3
        shifted = objects[random.integers(0, len(objects), count)] + random.normal(0, 3, (count, 4))
        boxes[near] = (np.round(shifted) if grid else shifted)[near]
    return np.sort(boxes.reshape(-1, 2, 2), axis=1).reshape(-1, 4)  # a shifted small box may be inverted


def sample(boxes: np.ndarray, scores: np.ndarray, labels: np.ndarray, instances: list[dict], name: int = 0) -> dict:
    """One image; ``instances`` are its annotations in MMDetection's form."""
    predicted = dict(
        bboxes=torch.tensor(boxes, dtype=torch.float64).reshape(-1, 4),
        scores=torch.tensor(scores, dtype=torch.float64),
        labels=torch.tensor(labels, dtype=torch.int64),
    )
    return dict(pred_instances=predicted, instances=instances, img_id=name)


def instance(box: np.ndarray, label: int = 0, ignored: bool = False) -> dict:
    return dict(bbox=[float(side) for side in box], bbox_label=int(label), ignore_flag=int(ignored))


def random_samples(seed: int, images: int = 3, grid: bool = False, levels: int = 0) -> list[dict]:
    """Images with 0 to 7 objects of three classes, a fifth of them crowds, and 0 to 25 detections.

    Args:
        seed: of the random numbers.
        images: their number.
        grid: boxes on a grid.
        levels: number of different scores; 0 for no limit.
    """
    random = np.random.default_rng(seed)
    found = []
    for name in range(images):
        objects = random_boxes(random, random.integers(0, 8), grid)
        instances = [instance(box, random.integers(CLASSES), random.random() < 0.2) for box in objects]
        boxes = detections_near(random, objects, random.integers(0, 26), grid)
        scores = random.random(len(boxes))
        scores = np.round(scores * levels) / levels if levels else scores
        found.append(sample(boxes, scores, random.integers(0, CLASSES, len(boxes)), instances, name))
    return found
