"""Matched sides of a trained detector, divided into images for calibration and images to measure intervals on."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import numpy as np
from mmengine.config import Config

from ...coders import IntegralBBoxCoder
from ...metrics.matched_sides import MatchedSides
from ...structures.side_fields import BBOX_DISTRIBUTIONS, BBOX_STD
from ..calibration.calibrate import MATCH_IOU
from ..labelled_images import labelled_loader
from ..progress import ProgressDisplay
from ..side_errors import LoadedDetector, collect_sides, load_detector
from ..studies.finished_run import FinishedRun
from .divisions import random_divisions

_HALVES = 20  # random divisions of the images, where there is one held-out set only

Pair = tuple[MatchedSides, MatchedSides]  # of calibration images, and of test images


@dataclass(frozen=True)
class RunSides:
    """What one trained detector gives."""

    run: FinishedRun
    pairs: tuple[Pair, ...]
    test: MatchedSides  # of all images that were not used for training or calibration
    held_out: MatchedSides  # of all images that were not used for training
    calibration_images: int  # number of images for calibration
    bins: np.ndarray | None  # (n+1,) in strides; None for sides without bins


def run_sides(run: FinishedRun, display: ProgressDisplay) -> RunSides:
    """Predict the held-out images of a run.

    The validation images are for calibration and the test images for measuring, if the config has both. If its test set
    is its validation set, the images are divided at random into halves, 20 times.

    Args:
        run: a trained detector.
        display: shows the progress.

    Returns:
        Its matched sides.
    """
    detector = load_detector(Config.fromfile(run.config), run.checkpoint)
    coder = detector.head.bbox_coder
    detector.head.test_cfg.update(
        with_uncertainty=BBOX_STD in coder.side_fields, with_distributions=BBOX_DISTRIBUTIONS in coder.side_fields
    )
    val = collect_sides(detector, labelled_loader(detector.cfg, "val"), "val", MATCH_IOU, display)
    images = int(val.image.max(initial=0)) + 1
    bins = coder.bins().numpy() if isinstance(coder, IntegralBBoxCoder) else None
    if _same_images(detector):
        return RunSides(run, tuple(_halves(val)), val, val, images // 2, bins)
    test = collect_sides(detector, labelled_loader(detector.cfg, "test"), "test", MATCH_IOU, display)
    return RunSides(run, ((val, test),), test, join_sides(val, test), images, bins)


def _same_images(detector: LoadedDetector) -> bool:
    val, test = (detector.cfg[f"{split}_dataloader"].dataset for split in ("val", "test"))
    return val.get("ann_file") == test.get("ann_file")


def _halves(sides: MatchedSides) -> list[Pair]:
    half = (int(sides.image.max(initial=0)) + 1) // 2
    return [(sides.rows(first), sides.rows(rest)) for first, rest in random_divisions(sides, half, _HALVES)]


def join_sides(sides: MatchedSides, others: MatchedSides) -> MatchedSides:
    """Join the matches of two sets of images; images of different sets keep different numbers.

    Args:
        sides: matches of the first set.
        others: matches of the second set.

    Returns:
        All matches.
    """
    later = replace(others, image=others.image + int(sides.image.max(initial=-1)) + 1)
    columns = {one.name: (getattr(sides, one.name), getattr(later, one.name)) for one in fields(sides)}
    return MatchedSides(
        **{name: None if own is None else np.concatenate([own, rest]) for name, (own, rest) in columns.items()}
    )
