"""Everything that a report says about one model, from its examination."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from .coco_metrics import coco_metrics
from .error_costs import all_errors, error_costs
from .error_kinds import ImageErrors, image_errors
from .examined_image import Examination
from .perfect_ranking import perfect_ranking
from .report_content import Accuracy, ErrorCost, JudgedImage, ModelReport, SideQuality, SuspectLabel
from .score_quality import score_quality
from .shown_detections import judged_images, score_threshold, shown_counts
from .side_quality import matched_sides, side_quality


def model_report(examination: Examination, level: float) -> ModelReport:
    """Analyze the detections of a model, without its suspect labels, see :func:`with_suspects`.

    Args:
        examination: of the model, with at least one image.
        level: of the intervals of sides.

    Returns:
        The report; a part that is not possible is None, and ``missing`` says why.
    """
    images = examination.images
    errors = [image_errors(image) for image in images]
    threshold = score_threshold(images, errors)
    judged = judged_images(images, errors, threshold)
    scores = score_quality(images, errors)
    sides, why = _sides(examination, errors, level)
    return ModelReport(
        name=examination.name,
        accuracy=_accuracy(examination, errors, judged),
        scores=scores,
        sides=sides,
        suspects=None,
        judged=judged,
        missing=(*examination.missing, *_missing_objects(examination), *why),
        score_threshold=threshold,
    )


def with_suspects(report: ModelReport, suspects: Sequence[SuspectLabel]) -> ModelReport:
    """Add the suspect labels.

    Args:
        report: of a model.
        suspects: its suspect labels.

    Returns:
        The report with them.
    """
    return replace(report, suspects=tuple(suspects))


def _accuracy(examination: Examination, errors: Sequence[ImageErrors], judged: Sequence[JudgedImage]) -> Accuracy:
    images, classes = examination.images, examination.classes
    values = coco_metrics(images, classes)
    shown = shown_counts(judged)
    costs: list[ErrorCost] = [
        replace(cost, shown=shown[cost.kind]) for cost in error_costs(all_errors(images, errors, len(classes)))
    ]
    return Accuracy(values.metrics, values.per_class, perfect_ranking(images, errors, classes), tuple(costs))


def _missing_objects(examination: Examination) -> list[str]:
    """Sentences about objects and detections that the data or the model lack."""
    images, classes = examination.images, examination.classes
    counts = np.bincount(np.concatenate([image.objects.labels for image in images]), minlength=len(classes))
    sentences = []
    if not counts.any():
        sentences.append(
            "The images have no labelled objects, so that AP, the costs of errors and the quality of scores are not "
            "defined: every detection is a false positive."
        )
    elif not counts.all():
        names = [name for name, count in zip(classes, counts) if not count]
        listed = ", ".join(names[:10]) + (f" and {len(names) - 10} more" if len(names) > 10 else "")
        sentences.append(f"Classes without an object in these images have no AP: {listed}.")
    if not any(len(image.scores) for image in images):
        sentences.append(
            "The model has no detection above test_cfg.score_thr (score_threshold of a layout), so that there is "
            "nothing to say about its scores and sides."
        )
    return sentences


def _sides(
    examination: Examination, errors: Sequence[ImageErrors], level: float
) -> tuple[SideQuality | None, tuple[str, ...]]:
    """The quality of sides, or why there is none."""
    if any(image.sides is None for image in examination.images):
        return None, ()  # the examination itself says why
    sides = matched_sides(examination.images, errors)
    if not len(sides):
        return None, (
            "No detection has found an object at an IoU of 0.5, so that the uncertainty of sides cannot be compared "
            "with errors.",
        )
    quality = side_quality(sides, examination.classes, level)
    if any(np.isnan(one.coverage) for one in quality.figures):
        return quality, (
            f"There are too few images with found objects for coverage and margins at a level of {level:g}; a lower "
            "--level needs fewer.",
        )
    return quality, ()
