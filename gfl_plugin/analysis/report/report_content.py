"""The content of a report, between the analyses that compute it and the page, the CSV and the JSON files that show it.

All numbers are plain Python or NumPy values in the units of their comments. A part that could not be computed is None,
and ``ModelReport.missing`` says why.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

PAGE = "report.html"  # the page, in the folder of the report
SIDES = ("left", "top", "right", "bottom")

# Kinds of errors, as in TIDE (Bolya et al., ECCV 2020, arXiv 2008.08115).
ERROR_KINDS = ("classification", "localization", "both", "duplicate", "background", "missed")
CORRECT = "correct"  # a detection that found an object
IGNORED = "ignored"  # a detection in an ignored region
BOTH, NEITHER = "both", "none"  # in Comparison.found


@dataclass(frozen=True)
class ErrorCost:
    """One kind of error and what it costs."""

    kind: str  # one of ERROR_KINDS
    count: int
    ap50_gain: float  # points of AP50 (percent) that the model would gain if only this kind were repaired
    shown: int = 0  # how many of them there are at the score threshold of the report, see ModelReport


@dataclass(frozen=True)
class Accuracy:
    """AP and the headroom that a better ranking leaves, in percent."""

    metrics: dict[str, float]  # COCO's names: AP, AP50, AP75, APs, APm, APl, AR100 ...; NaN where it is not defined
    per_class: dict[str, float]  # AP by class name; NaN for classes without objects
    perfect_ranking: dict[str, float]  # the same metrics of the same boxes, ranked by their true IoU
    errors: tuple[ErrorCost, ...]


@dataclass(frozen=True)
class ScoreQuality:
    """How scores relate to the true quality of boxes."""

    scores: np.ndarray  # (N,) detections of all images
    iou: np.ndarray  # (N,) IoU with the best object of their class, 0 without one
    curve: tuple[tuple[float, float, float, int], ...]  # bins of scores: mean score, mean IoU, precision at 0.5, count
    spearman: float  # of score and IoU, over detections with an IoU of at least 0.5
    spearman_all: float  # over all detections
    la_ece: float  # LaECE_0, in [0, 1]
    d_ece: float  # D-ECE at an IoU of 0.5, in [0, 1]
    background_share: float  # share of the detections with a score of at least 0.5 that overlap no object by 0.1


@dataclass(frozen=True)
class SideFigures:
    """Uncertainty of one side, or of all sides, over the matches of one group."""

    side: str  # one of SIDES, or "all"
    group: str  # "all", or a size: "small", "medium", "large" (COCO's areas)
    matches: int
    spearman: float  # of the predicted standard deviation and the absolute error
    mean_std: float  # pixels
    rms_error: float  # pixels
    coverage: float  # share of errors within the interval of the level below, calibrated on other images
    mean_margin: float  # pixels


@dataclass(frozen=True)
class SideQuality:
    """How standard deviations of sides relate to their errors."""

    level: float  # of the intervals, such as 0.9
    figures: tuple[SideFigures, ...]
    std: np.ndarray  # (M, 4) predicted, in pixels, of all matches
    errors: np.ndarray  # (M, 4) in pixels, positive if the labelled side lies outside the predicted box


@dataclass(frozen=True)
class SuspectLabel:
    """An annotation with a side that lies outside the calibrated interval of the detection that found it."""

    image: int  # index in the examination
    object: int  # index among the objects of the image
    detection: int  # index among the detections of the image
    side: str  # one of SIDES: the worst
    labelled: float  # pixel coordinate of the annotated side
    predicted: float  # pixel coordinate of the detected side
    beyond: float  # pixels by which the label lies beyond the interval
    suspicion: float  # |label - prediction| / margin, > 1; the list is sorted by it, falling
    iou: float  # of label and detection


@dataclass(frozen=True)
class JudgedDetection:
    """A detection in the gallery."""

    detection: int  # index among the detections of the image
    kind: str  # CORRECT, IGNORED or one of ERROR_KINDS except "missed"
    iou: float  # with the object below, 0 without one
    # Index of the object that the kind is about: the one that was found (correct), that another detection has found
    # (duplicate), or that this one is near (localization, classification). For the others, the object of any class that
    # it overlaps most; -1 without one.
    object: int


@dataclass(frozen=True)
class JudgedImage:
    """An image with the kind of each detection, and the objects that were missed, both at a score threshold."""

    image: int  # index in the examination
    detections: tuple[JudgedDetection, ...]  # those with a score of at least the threshold, in falling order
    # Indices of objects that none of these detections has found or is near (localization, classification).
    missed: tuple[int, ...]


@dataclass(frozen=True)
class ModelReport:
    """All about one model."""

    name: str
    accuracy: Accuracy
    scores: ScoreQuality | None  # None without detections
    sides: SideQuality | None
    suspects: tuple[SuspectLabel, ...] | None
    judged: tuple[JudgedImage, ...]  # one per image, in the order of the examination
    missing: tuple[str, ...]  # one sentence per part that is None, and why
    score_threshold: float = 0.0  # of ``judged`` and ``comparison``: the one with the best F1 at an IoU of 0.5


@dataclass(frozen=True)
class Difference:
    """An object that exactly one of two models found at an IoU of 0.5."""

    image: int
    object: int
    found_by: str  # name of the model


@dataclass(frozen=True)
class Comparison:
    """Two models on the same images."""

    models: tuple[str, str]
    # Number of objects found by: BOTH, each model's name alone, NEITHER; each model at its own score threshold.
    found: dict[str, int]
    differences: tuple[Difference, ...]


@dataclass(frozen=True)
class ReportContent:
    """Everything that the page shows, apart from the examinations themselves."""

    title: str
    created: str  # ISO date
    command: str  # that writes the report again
    split: str  # data loader whose images were examined
    models: tuple[ModelReport, ...]
    comparison: Comparison | None  # with exactly two models
