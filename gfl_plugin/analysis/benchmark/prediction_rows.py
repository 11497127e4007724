"""Rows for the head alone at test time: from maps to detections."""

from __future__ import annotations

import functools
from collections.abc import Iterator

from .case import BenchmarkCase
from .checks import detections_agree
from .heads import build_heads
from .machine_limits import MachineLimits
from .row import Row, differences_text, timed_row
from .settings import Report, Settings


def prediction_rows(settings: Settings, limits: MachineLimits, report: Report) -> Iterator[Row]:
    """Measure ``predict_by_feat`` with maps like those of a trained detector, and with many scores above the threshold.

    Args:
        settings: settings of the benchmark.
        limits: limits of the machine.
        report: function that is called with the name of the current measurement.

    Yields:
        The rows.

    Raises:
        Disagreement: if the numbers of the two heads differ.
    """
    report("prediction")
    yield _row("predict_by_feat", settings.case().as_trained(settings.above), settings, limits)
    report("prediction, many scores")
    yield _row("predict_by_feat, many scores", settings.case().with_many_scores(), settings, limits)


def _row(name: str, case: BenchmarkCase, settings: Settings, limits: MachineLimits) -> Row:
    """Compare the detections of both heads, then time them."""
    heads = build_heads(settings.classes, settings.device)
    difference = f"{case.description.split(', ')[-1]}; {differences_text(detections_agree(case, *heads))}"
    given = dict(batch_img_metas=case.img_metas, rescale=True)
    runs = [functools.partial(head.predict_by_feat, case.cls_scores, case.bbox_preds, **given) for head in heads]
    floor = limits.floor(sum(level.nbytes for level in case.cls_scores))  # class logits are read
    return timed_row(name, runs, settings.runs, settings.device, floor, difference)
