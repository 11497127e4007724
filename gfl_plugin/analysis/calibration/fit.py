"""Margins of box sides from matched detections, for all of them and for groups."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from ...metrics.matched_sides import MatchedSides
from ...structures.calibration import BOX, EVERYTHING, STD, group_indices, group_names, margin_units
from .conformal import PER_IMAGE, conformal_quantile, needed_samples


@dataclass(frozen=True)
class Request:
    """What is to be calibrated."""

    level: float  # in (0, 1)
    statement: str = BOX  # or SIDE, see structures.calibration
    unit: str = STD  # or SIZE, CONSTANT
    per: str = PER_IMAGE  # or PER_MATCH, see conformal
    group_by: str | None = None  # BY_CLASS, BY_SIZE, or None
    enough: int = 50  # matches without which a group has no margins of its own

    def __post_init__(self) -> None:
        if not 0 < self.level < 1:
            raise ValueError(f"level is {self.level!r}; it must be a number between 0 and 1, such as 0.9")
        if self.enough < 1:
            raise ValueError(f"the number of matches that are enough for a group is {self.enough}; it must be >= 1")


@dataclass(frozen=True)
class GroupMargins:
    """Margins of one group of detections."""

    name: str
    matches: int
    images: int  # with such matches
    quantiles: tuple[float, ...] | None  # of left, top, right, bottom, in units; None if there are too few matches


def fit_margins(sides: MatchedSides, request: Request, classes: tuple[str, ...]) -> list[GroupMargins]:
    """Compute the margins of all detections, and of each group.

    Args:
        sides: matches of the calibration images.
        request: level, unit and groups.
        classes: names of the classes.

    Returns:
        EVERYTHING first, then the groups in the order of their indices.

    Raises:
        ValueError: if there is no match, or there are fewer images (or matches) than the level needs.
    """
    if not len(sides):
        raise ValueError(
            "no detection matches an object at an IoU of 0.5 or more; check that checkpoint and data belong together: "
            "gfl-plugin test CONFIG CHECKPOINT"
        )
    scores = side_scores(sides, request.unit)
    margins = [_margins(EVERYTHING, scores, sides.image, request)]
    groups = groups_of(sides, request.group_by)
    for index, name in enumerate(group_names(request.group_by, classes)):
        rows = groups == index
        margins.append(_margins(name, scores[rows], sides.image[rows], request, optional=True))
    return margins


def side_scores(sides: MatchedSides, unit: str) -> np.ndarray:
    """Distances of the true sides from the predicted ones, in units.

    Args:
        sides: matched detections.
        unit: STD, SIZE or CONSTANT, see :func:`margin_units`.

    Returns:
        (N, 4), >= 0.
    """
    return np.abs(sides.errors) / units_of(sides, unit)


def units_of(sides: MatchedSides, unit: str) -> np.ndarray:
    """Pixels per unit.

    Args:
        sides: matched detections.
        unit: STD, SIZE or CONSTANT, see :func:`margin_units`.

    Returns:
        (N, 4) for left, top, right, bottom.
    """
    std = None if sides.std is None else torch.from_numpy(sides.std)
    return margin_units(unit, torch.from_numpy(sides.predicted), std).numpy()


def groups_of(sides: MatchedSides, group_by: str | None) -> np.ndarray:
    """The group of each match, see :func:`group_indices`.

    Args:
        sides: matched detections.
        group_by: BY_CLASS, BY_SIZE, or None.

    Returns:
        (N,) index of the group.
    """
    return group_indices(group_by, torch.from_numpy(sides.predicted), torch.from_numpy(sides.labels)).numpy()


def _margins(
    name: str, scores: np.ndarray, image: np.ndarray, request: Request, optional: bool = False
) -> GroupMargins:
    """Margins from the (N, 4) scores of a group; none for an optional group with too few matches."""
    images = len(np.unique(image))
    samples = images if request.per == PER_IMAGE else len(scores)
    if optional and (len(scores) < request.enough or samples < needed_samples(request.level)):
        return GroupMargins(name, len(scores), images, None)
    columns = [scores.max(axis=1)] * 4 if request.statement == BOX else list(scores.T)
    quantiles = [conformal_quantile(column, image, request.level, request.per) for column in columns]
    return GroupMargins(name, len(scores), images, tuple(quantiles))
