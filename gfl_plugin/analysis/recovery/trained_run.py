"""The learned side distributions of a finished run, and the laws of the annotations that it learned from."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from mmengine.config import Config
from torch import nn

from ...demo.annotation_noise import check_laws
from ...structures.side_fields import BBOX_DISTRIBUTIONS, BBOX_STD
from ..labelled_images import labelled_loader
from ..progress import ProgressDisplay
from ..side_errors import collect_sides, load_detector
from ..studies.finished_run import FinishedRun
from .learned_laws import SideRepresentation, learned_laws
from .point_laws import PointLaws

SCORE = 0.1  # of the detections whose sides are compared, at least; a higher one selects sides that are not typical
IOU = 0.5  # with the true box, at least


@dataclass(frozen=True)
class TrainedRun:
    """What a run has learned about the four sides."""

    run: FinishedRun
    noise: tuple[str, ...]  # names of the laws of left, top, right, bottom
    representation: SideRepresentation
    sides: tuple[PointLaws, ...]  # of left, top, right, bottom; a distribution per detection


def read_run(run: FinishedRun, display: ProgressDisplay) -> TrainedRun:
    """Predict the validation images of a run, whose annotations have no noise.

    Args:
        run: a finished run on the embedded dataset with annotation noise.
        display: shows the progress.

    Returns:
        The distributions of the matched detections.

    Raises:
        FileNotFoundError: if the checkpoint or the dataset is missing.
        ValueError: if the dataset has no annotation noise, the head does not fit, or no detection is confident enough.
    """
    cfg = Config.fromfile(run.config)
    noise = noise_of(Path(cfg.train_dataloader.dataset.data_root))
    representation = side_representation(load_detector(cfg, run.checkpoint).head)
    settings = {"bins": {"with_distributions": True}, "normal": {"with_uncertainty": True}, "point": {}}
    detector = load_detector(cfg, run.checkpoint, **settings[representation.kind])
    sides = collect_sides(detector, labelled_loader(detector.cfg, "val"), "val", IOU, display)
    sides = sides.rows(sides.scores >= SCORE)
    if not len(sides):
        raise ValueError(f"{run.checkpoint}: no detection has a score of {SCORE} and an IoU of {IOU}; train longer")
    return TrainedRun(run, noise, representation, tuple(learned_laws(sides, i, representation) for i in range(4)))


def noise_of(data: Path) -> tuple[str, ...]:
    """Read the laws of the annotations from the recipe of a dataset.

    Args:
        data: folder of the embedded dataset.

    Returns:
        Names of the laws of left, top, right, bottom.

    Raises:
        FileNotFoundError: if there is no dataset.
        ValueError: if its annotations have no noise.
    """
    recipe = json.loads((data / "recipe.json").read_text())
    if "noise" not in recipe:
        raise ValueError(f"the annotations in {data} have no noise; use the scale demo_noise")
    check_laws(recipe["noise"])
    return tuple(recipe["noise"])


def side_representation(head: nn.Module) -> SideRepresentation:
    """What a head predicts for a side.

    Args:
        head: a GFLHead with a single level, whose boxes are not clipped to the image.

    Returns:
        The representation, with its bins in pixels.

    Raises:
        ValueError: if the head has several levels, whose strides differ, or clips its boxes, so that predicted sides
            are not the means of their distributions.
    """
    coder, strides = head.bbox_coder, head.prior_generator.strides
    if len(strides) != 1:
        raise ValueError(f"the head has the strides {strides}; annotation noise is compared on a single level")
    if coder.clip_border:
        raise ValueError("the head clips its boxes to the image; set bbox_coder=dict(clip_border=False, ...)")
    if BBOX_DISTRIBUTIONS in coder.side_fields:
        return SideRepresentation("bins", coder.bins().double().numpy() * strides[0][0])
    return SideRepresentation("normal" if BBOX_STD in coder.side_fields else "point")
