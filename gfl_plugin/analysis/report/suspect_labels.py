"""Annotations with a side that is probably wrong, by what a detector believes."""

from __future__ import annotations

import numpy as np

from .examined_image import Examination
from .label_judgements import LabelJudgements, judge_labels
from .report_content import SIDES, SuspectLabel


def find_suspects(examination: Examination, level: float) -> tuple[SuspectLabel, ...]:
    """Find annotations with a side outside the calibrated interval of the detection that found them.

    At most about 1 - level of the right annotations are among them. Annotations that no detection has found are not
    judged; the gallery shows them as missed.

    Args:
        examination: of a detector, on images that it was not trained on. A detector agrees with the labels that it was
            trained on, wrong ones included.
        level: of the intervals, see :mod:`gfl_plugin.analysis.report.label_judgements`; in (0, 1).

    Returns:
        The worst first.

    Raises:
        ValueError: if there are too few images with a found annotation for the level.
    """
    judgements = judge_labels(examination, level)
    worst = judgements.suspicion.max(axis=1, initial=0)
    order = np.argsort(-worst, kind="stable")
    return tuple(_suspect(judgements, row) for row in order[worst[order] > 1])


def _suspect(judgements: LabelJudgements, row: int) -> SuspectLabel:
    side = int(judgements.suspicion[row].argmax())
    labelled, predicted = float(judgements.labelled[row, side]), float(judgements.predicted[row, side])
    return SuspectLabel(
        image=int(judgements.image[row]),
        object=int(judgements.object[row]),
        detection=int(judgements.detection[row]),
        side=SIDES[side],
        labelled=labelled,
        predicted=predicted,
        beyond=abs(labelled - predicted) - float(judgements.margins[row, side]),
        suspicion=float(judgements.suspicion[row, side]),
        iou=float(judgements.iou[row]),
    )
