"""The rows of a report's CSV files: detections, objects, errors."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator
from itertools import chain

import numpy as np

from .error_kinds import image_errors
from .examined_image import Examination
from .report_content import CORRECT, SIDES, ModelReport

_CORNERS = ("x1", "y1", "x2", "y2")
Row = dict[str, object]  # by the name of the column


def table_text(rows: Iterable[Row]) -> str:
    """Format rows as CSV.

    Args:
        rows: with the same columns.

    Returns:
        The text, with a first line of names; empty without rows. NaN is an empty cell.
    """
    rows = iter(rows)
    first = next(rows, None)
    if first is None:
        return ""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(first)
    for row in chain([first], rows):
        writer.writerow(["" if value != value else value for value in row.values()])
    return text.getvalue()


def detection_rows(report: ModelReport, examination: Examination) -> Iterator[Row]:
    """All detections, those below the score threshold, too.

    Args:
        report: of the model.
        examination: of the model.

    Yields:
        One row per detection.
    """
    for number, image in enumerate(examination.images):
        errors = image_errors(image)
        std = (
            [[""] * 4] * len(image.scores)
            if image.sides is None
            else image.sides.std.astype(np.float64).round(3).tolist()
        )
        columns = zip(
            image.scores.tolist(),
            image.detections.labels.tolist(),
            image.detections.boxes.round(2).tolist(),
            errors.kinds.tolist(),
            errors.objects.tolist(),
            errors.iou.tolist(),
            std,
        )
        for index, (score, label, box, kind, about, iou, own) in enumerate(columns):
            yield {
                **_place(report, number, image.image_id, image.path),
                "detection": index,
                "class": examination.classes[label],
                "score": round(score, 5),
                **dict(zip(_CORNERS, box)),
                "kind": kind,
                "object": about,
                "iou": round(iou, 4),
                "shown": int(score >= report.score_threshold),
                **{f"std_{side}": one for side, one in zip(SIDES, own)},
            }


def object_rows(report: ModelReport, examination: Examination) -> Iterator[Row]:
    """All objects, with the detection above the score threshold that has found each.

    Args:
        report: of the model.
        examination: of the model.

    Yields:
        One row per object. Its state is ``found``; or ``near``, if a localization or classification error is about it;
        or ``missed``.
    """
    for judged, image in zip(report.judged, examination.images):
        found = {one.object: one for one in judged.detections if one.kind == CORRECT}
        missed = set(judged.missed)
        for index, (label, box) in enumerate(zip(image.objects.labels.tolist(), image.objects.boxes.tolist())):
            one = found.get(index)
            yield {
                **_place(report, judged.image, image.image_id, image.path),
                "object": index,
                "class": examination.classes[label],
                **{corner: round(value, 2) for corner, value in zip(_CORNERS, box)},
                "state": "missed" if index in missed else "near" if one is None else "found",
                "detection": "" if one is None else one.detection,
                "score": "" if one is None else round(float(image.scores[one.detection]), 5),
                "iou": "" if one is None else round(one.iou, 4),
            }


def error_rows(report: ModelReport) -> Iterator[Row]:
    """The costs of the kinds of errors.

    Args:
        report: of the model.

    Yields:
        One row per kind.
    """
    for cost in report.accuracy.errors:
        yield {
            "model": report.name,
            "kind": cost.kind,
            "count": cost.count,
            "shown": cost.shown,
            "ap50_gain": round(cost.ap50_gain, 4),
        }


def _place(report: ModelReport, number: int, image_id: int | str, path: str) -> Row:
    return {"model": report.name, "image": number, "image_id": image_id, "path": path}
