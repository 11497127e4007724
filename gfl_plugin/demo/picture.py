"""Ground truth and detections of several models, side by side."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import supervision as sv
from mmdet.structures import DetDataSample
from mmengine.structures import InstanceData
from PIL import Image

_ZOOM = 3
_HEADING = 36  # pixels above the first row
_COLORS = sv.ColorPalette.from_hex(
    ["#00d5ff", "#ffd000", "#ff7b7b", "#7dff6b", "#ff8bf5", "#f2f2f2", "#ff9a3c", "#9ab2ff", "#35e0b5", "#d8ff3c"]
)


def side_by_side(data: Path, detections: Mapping[str, Sequence[DetDataSample]]) -> Image.Image:
    """One image per row: ground truth, then each model's detections.

    Per image as many detections are drawn as there are objects, the best ones of whatever class that do not overlap a
    better one: scores of different models are on different scales, so that a threshold would favor one of them.

    Args:
        data: the demo's data set.
        detections: for each model's name its data samples, of the same images.
    """
    truth = json.loads((data / "val.json").read_text())
    names = [category["name"] for category in truth["categories"]]
    rows = []
    for samples in zip(*detections.values()):
        image = Image.open(samples[0].img_path).convert("RGB")
        boxes = _truths([entry for entry in truth["annotations"] if entry["image_id"] == samples[0].img_id])
        found = [_best(sample.pred_instances.cpu().numpy(), len(boxes)) for sample in samples]
        rows.append(np.hstack([_drawn(image, one, names) for one in (boxes, *found)]))
    headings = _headings(["ground truth", *detections], rows[0].shape[1])
    return Image.fromarray(np.vstack([headings, *rows]))


def _truths(annotations: Sequence[dict]) -> sv.Detections:
    boxes = np.array([entry["bbox"] for entry in annotations], np.float64).reshape(-1, 4)
    labels = np.array([entry["category_id"] for entry in annotations], int)
    return sv.Detections(xyxy=sv.xywh_to_xyxy(boxes), class_id=labels)


def _best(found: InstanceData, count: int) -> sv.Detections:
    """The best detections that do not overlap a better one, at most as many as ``count``."""
    kept = sv.Detections(xyxy=found.bboxes, confidence=found.scores, class_id=found.labels)
    kept = kept.with_nms(threshold=0.4, class_agnostic=True)
    return kept[np.argsort(-kept.confidence, kind="stable")[:count]]


def _drawn(image: Image.Image, objects: sv.Detections, names: Sequence[str]) -> np.ndarray:
    """An image enlarged, with boxes, classes and scores on it: (H, W, 3) uint8."""
    scene = image.resize((image.width * _ZOOM, image.height * _ZOOM), Image.Resampling.BICUBIC)
    enlarged = sv.Detections(objects.xyxy * _ZOOM, confidence=objects.confidence, class_id=objects.class_id)
    scores = [None] * len(objects) if objects.confidence is None else objects.confidence
    texts = [
        names[label] + ("" if score is None else f"  {score:.2f}") for label, score in zip(objects.class_id, scores)
    ]
    scene = sv.BoxAnnotator(_COLORS, thickness=2).annotate(scene, enlarged)
    labels = sv.RichLabelAnnotator(
        _COLORS, text_color=sv.Color.BLACK, font_size=20, text_padding=4, smart_position=True
    )
    return np.asarray(labels.annotate(scene, enlarged, texts))


def _headings(texts: Sequence[str], width: int) -> np.ndarray:
    strip = np.full((_HEADING, width, 3), 255, np.uint8)
    for number, text in enumerate(texts):
        anchor = sv.Point(x=round((number + 0.5) * width / len(texts)), y=_HEADING // 2)
        strip = sv.draw_text(strip, text, anchor, text_color=sv.Color.BLACK, text_scale=0.7)
    return strip
