"""Picture of ground truth and detections of several models, side by side."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import supervision as sv
from PIL import Image

ZOOM = 3  # factor by which images are enlarged
HEADING = 36  # pixels above the first row
_COLORS = sv.ColorPalette.from_hex(
    ["#00d5ff", "#ffd000", "#ff7b7b", "#7dff6b", "#ff8bf5", "#f2f2f2", "#ff9a3c", "#9ab2ff", "#35e0b5", "#d8ff3c"]
)


def side_by_side(truth: Path, images: Path, detections: Mapping[str, Path], count: int) -> Image.Image:
    """Draw one row per image: ground truth, then the detections of each model.

    Per image, the number of drawn detections is the number of objects. They have the highest scores of all classes, and
    none overlaps a better one. A score threshold would favor one of the models, since their scores are on different
    scales.

    Args:
        truth: annotations in COCO's format.
        images: folder of the images.
        detections: results in COCO's format, by name of the model; a missing file means no detections.
        count: number of images, from the beginning of the annotations.

    Returns:
        The picture.
    """
    content = json.loads(truth.read_text())
    names = {category["id"]: category["name"] for category in content["categories"]}
    found = [json.loads(path.read_text()) if path.exists() else [] for path in detections.values()]
    rows = []
    for entry in content["images"][:count]:
        image = Image.open(images / entry["file_name"]).convert("RGB")
        objects = _of_image(content["annotations"], entry["id"])
        best = [_best(_of_image(one, entry["id"]), len(objects)) for one in found]
        rows.append(np.hstack([_draw(image, one, names) for one in (objects, *best)]))
    headings = _headings(["ground truth", *detections], rows[0].shape[1])
    return Image.fromarray(np.vstack([headings, *rows]))


def _of_image(entries: Sequence[dict], image: int) -> sv.Detections:
    """The objects, or the detections, of one image."""
    own = [entry for entry in entries if entry["image_id"] == image]
    boxes = np.array([entry["bbox"] for entry in own], np.float64).reshape(-1, 4)
    return sv.Detections(
        xyxy=sv.xywh_to_xyxy(boxes),
        confidence=np.array([entry["score"] for entry in own]) if own and "score" in own[0] else None,
        class_id=np.array([entry["category_id"] for entry in own], int),
    )


def _best(found: sv.Detections, count: int) -> sv.Detections:
    """The best detections that do not overlap a better one, at most ``count``."""
    if not len(found):
        return found
    kept = found.with_nms(threshold=0.4, class_agnostic=True)
    return kept[np.argsort(-kept.confidence, kind="stable")[:count]]


def _draw(image: Image.Image, objects: sv.Detections, names: Mapping[int, str]) -> np.ndarray:
    """The enlarged image with boxes, classes and scores: (H, W, 3) uint8."""
    scene = image.resize((image.width * ZOOM, image.height * ZOOM), Image.Resampling.BICUBIC)
    if not len(objects):
        return np.asarray(scene)
    enlarged = sv.Detections(objects.xyxy * ZOOM, confidence=objects.confidence, class_id=objects.class_id)
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
    """A white strip with a text above each column: (HEADING, width, 3) uint8."""
    strip = np.full((HEADING, width, 3), 255, np.uint8)
    for number, text in enumerate(texts):
        anchor = sv.Point(x=round((number + 0.5) * width / len(texts)), y=HEADING // 2)
        strip = sv.draw_text(strip, text, anchor, text_color=sv.Color.BLACK, text_scale=0.7)
    return strip
