"""How well suspicion finds wrong labels, in comparison with the IoU of label and detection."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import rankdata

from ..report.examined_image import Examination
from ..report.label_judgements import LabelJudgements
from .fold_data import WrongLabel

TOP = 20
RESAMPLES = 1000


@dataclass(frozen=True)
class RankingFigures:
    """A ranking of all annotations; those that no detection has found come last."""

    auroc: float  # probability that a wrong label comes before a right one
    precision: float  # share of wrong labels among the first TOP


@dataclass(frozen=True)
class EdgeFigures:
    """What is said about the sides of wrong labels."""

    count: int  # wrong labels
    named: float  # share of those whose shifted side is the named one
    median_error: float  # |predicted - original position| of the named side, in pixels; NaN without wrong labels
    mean_error: float


@dataclass(frozen=True)
class LabelFigures:
    """Figures of one examination with known wrong labels."""

    annotations: int
    wrong: int
    found: int  # wrong labels that a detection has found
    listed: int  # annotations outside their margins: the list of suspect labels
    suspicion: RankingFigures
    iou: RankingFigures  # by 1 - IoU of the same detections
    # 95 % interval of the difference of AUROC, suspicion minus 1 - IoU: percentiles over resampled images.
    difference: tuple[float, float]
    edges_found: EdgeFigures  # of the wrong labels that a detection has found
    edges_listed: EdgeFigures  # of those on the list


@dataclass(frozen=True)
class _Annotations:
    """All annotations of an examination, in one list."""

    image: np.ndarray  # (N,) index in the examination
    side: np.ndarray  # (N,) index of the shifted side, -1 for right labels
    original: np.ndarray  # (N, 4) boxes before the shifts

    @property
    def wrong(self) -> np.ndarray:
        """(N,) whether a side was shifted."""
        return self.side >= 0


def label_figures(examination: Examination, judgements: LabelJudgements, wrong: Sequence[WrongLabel]) -> LabelFigures:
    """Measure how well wrong labels are found.

    Args:
        examination: with the wrong labels, at least one of them and one right one.
        judgements: of its annotations.
        wrong: the wrong labels; image names are those of the files.

    Returns:
        The figures.

    Raises:
        ValueError: if a wrong label is not in the examination.
    """
    annotations = _annotations(examination, wrong)
    rows = _rows(examination, judgements)
    suspicion, distance = np.zeros(len(annotations.side)), np.full(len(annotations.side), -1.0)
    suspicion[rows] = judgements.suspicion.max(axis=1)
    distance[rows] = 1 - judgements.iou
    found = annotations.wrong[rows]
    return LabelFigures(
        annotations=len(annotations.side),
        wrong=int(annotations.wrong.sum()),
        found=int(found.sum()),
        listed=int((suspicion > 1).sum()),
        suspicion=_ranking(suspicion, annotations.wrong),
        iou=_ranking(distance, annotations.wrong),
        difference=_difference(suspicion, distance, annotations),
        edges_found=_edges(judgements, annotations, rows, found),
        edges_listed=_edges(judgements, annotations, rows, found & (suspicion[rows] > 1)),
    )


def auroc(score: np.ndarray, wrong: np.ndarray) -> float:
    """Area under the ROC curve.

    Args:
        score: (N,) high for annotations that are probably wrong.
        wrong: (N,) bool, with both values.

    Returns:
        The probability that a wrong annotation has a higher score than a right one; equal scores count half.
    """
    count = int(wrong.sum())
    above = rankdata(score)[wrong].sum() - count * (count + 1) / 2
    return float(above / (count * (len(wrong) - count)))


def _annotations(examination: Examination, wrong: Sequence[WrongLabel]) -> _Annotations:
    by_place = {(one.image, one.object): one for one in wrong}
    image, side, original = [], [], []
    for index, one in enumerate(examination.images):
        name = one.path.replace("\\", "/").rpartition("/")[2]
        for place, box in enumerate(one.objects.boxes):
            shift = by_place.pop((name, place), None)
            before = box.copy()
            if shift is not None:
                if not np.isclose(box[shift.side], shift.shifted):
                    raise ValueError(f"annotation {place} of {name} is {box}, but {shift} was made")
                before[shift.side] = shift.original
            image.append(index)
            side.append(-1 if shift is None else shift.side)
            original.append(before)
    if by_place:
        raise ValueError(
            f"{len(by_place)} wrong labels are not among the examined ones, such as {next(iter(by_place))}"
        )
    return _Annotations(np.array(image), np.array(side), np.array(original))


def _rows(examination: Examination, judgements: LabelJudgements) -> np.ndarray:
    """The index among all annotations of each judged one."""
    counts = [len(image.objects.labels) for image in examination.images]
    return np.cumsum([0, *counts])[judgements.image] + judgements.object


def _ranking(score: np.ndarray, wrong: np.ndarray) -> RankingFigures:
    first = np.argsort(-score, kind="stable")[:TOP]
    return RankingFigures(auroc(score, wrong), float(wrong[first].mean()))


def _difference(one: np.ndarray, other: np.ndarray, annotations: _Annotations) -> tuple[float, float]:
    random = np.random.default_rng(0)
    by_image = [np.flatnonzero(annotations.image == index) for index in np.unique(annotations.image)]
    values = []
    for _ in range(RESAMPLES):
        rows = np.concatenate([by_image[index] for index in random.integers(len(by_image), size=len(by_image))])
        wrong = annotations.wrong[rows]
        if 0 < wrong.sum() < len(wrong):
            values.append(auroc(one[rows], wrong) - auroc(other[rows], wrong))
    low, high = np.percentile(values, [2.5, 97.5])
    return float(low), float(high)


def _edges(
    judgements: LabelJudgements, annotations: _Annotations, rows: np.ndarray, selected: np.ndarray
) -> EdgeFigures:
    if not selected.any():
        return EdgeFigures(0, np.nan, np.nan, np.nan)
    named = judgements.suspicion.argmax(axis=1)  # (N,)
    errors = np.abs(judgements.predicted - annotations.original[rows])[np.arange(len(rows)), named][selected]
    right = (named == annotations.side[rows])[selected]
    return EdgeFigures(int(selected.sum()), float(right.mean()), float(np.median(errors)), float(errors.mean()))
