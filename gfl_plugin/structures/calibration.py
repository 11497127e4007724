"""Calibrated margins of box sides: how far the true side of a detected object may be from the predicted one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from .side_fields import BBOX_STD

STD, SIZE, CONSTANT = UNITS = ("std", "size", "constant")  # units of margins, see margin_units
BOX, SIDE = STATEMENTS = ("box", "side")  # what the level is about: all four sides at once, or each side alone
EVERYTHING = "all"  # group of all detections, which the others fall back to
BY_CLASS, BY_SIZE = GROUPINGS = ("class", "size")
# COCO's limits of areas in pixels of the original image.
SIZES = {"small": (0.0, 32.0**2), "medium": (32.0**2, 96.0**2), "large": (96.0**2, float("inf"))}


@dataclass(frozen=True)
class Calibration:
    """Margins of one trained head, as ``gfl-plugin calibrate`` computes them.

    Raises:
        ValueError: if the fields contradict each other.
    """

    level: float  # probability that the true box, or the true side, is within the margins; in (0, 1)
    statement: str  # BOX or SIDE
    unit: str  # STD, SIZE or CONSTANT
    quantiles: Mapping[str, tuple[float, ...]]  # margins of left, top, right, bottom in units, by group
    classes: tuple[str, ...]  # of the data set, in the order of labels
    head: str  # fingerprint of the head's weights
    iou_thr: float  # minimum IoU of the matches it was computed from
    group_by: str | None = None  # BY_CLASS, BY_SIZE, or None for EVERYTHING alone
    test_cfg: Mapping[str, object] = field(default_factory=dict)  # settings that decide which detections there are
    about: Mapping[str, object] = field(default_factory=dict)  # for readers: data, checkpoint, number of matches, date

    def __post_init__(self) -> None:
        for name, valid, expected in (
            ("level", isinstance(self.level, (int, float)) and 0 < self.level < 1, "a number between 0 and 1"),
            ("statement", self.statement in STATEMENTS, f"one of {', '.join(STATEMENTS)}"),
            ("unit", self.unit in UNITS, f"one of {', '.join(UNITS)}"),
            ("group_by", self.group_by in (None, *GROUPINGS), f"one of {', '.join(GROUPINGS)}, or null"),
            (
                "classes",
                _are_names(self.classes, self.group_by),
                f"names of classes; with groups by class, they must differ from each other and from {EVERYTHING!r}",
            ),
            ("quantiles", _are_margins(self.quantiles), f"four numbers >= 0 for {EVERYTHING!r} and for each group"),
            ("test_cfg", isinstance(self.test_cfg, Mapping), "a mapping"),
            ("about", isinstance(self.about, Mapping), "a mapping"),
        ):
            if not valid:
                raise ValueError(f"{name} is {getattr(self, name)!r}; it must be {expected}")
        unknown = set(self.quantiles) - {EVERYTHING, *self.group_names}
        if unknown:
            raise ValueError(
                f"quantiles has {', '.join(sorted(unknown))}; the groups are {', '.join(self.group_names)}"
            )

    @property
    def fields(self) -> tuple[str, ...]:
        """Names of the fields of detections that :meth:`margins` needs."""
        return (BBOX_STD,) if self.unit == STD else ()

    @property
    def group_names(self) -> tuple[str, ...]:
        """Names of the groups in the order of their indices."""
        return group_names(self.group_by, self.classes)

    def margins(self, boxes: Tensor, labels: Tensor, std: Tensor | None) -> Tensor:
        """Margins of detections.

        Args:
            boxes: (N, 4) x1, y1, x2, y2 in pixels of the original image.
            labels: (N,) class indices.
            std: (N, 4) predicted standard deviations of the sides, in the same pixels; only for the unit STD.

        Returns:
            (N, 4) pixels for left, top, right, bottom.
        """
        units = margin_units(self.unit, boxes, std)
        if self.group_by is None:
            return boxes.new_tensor(self.quantiles[EVERYTHING]) * units
        table = [self.quantiles.get(name, self.quantiles[EVERYTHING]) for name in self.group_names]
        return boxes.new_tensor(table)[group_indices(self.group_by, boxes, labels)] * units


def margin_units(unit: str, boxes: Tensor, std: Tensor | None) -> Tensor:
    """Pixels per unit of a margin.

    Args:
        unit: STD, the predicted standard deviation of the side; SIZE, the width of the box for left and right and its
            height for top and bottom; CONSTANT, one pixel.
        boxes: (N, 4) x1, y1, x2, y2 in pixels of the original image.
        std: (N, 4) predicted standard deviations of the sides, in the same pixels; only for STD.

    Returns:
        (N, 4) for left, top, right, bottom, at least 1e-6.
    """
    if unit == CONSTANT:
        return torch.ones_like(boxes)
    values = std if unit == STD else (boxes[:, 2:] - boxes[:, :2]).repeat(1, 2)
    return values.clamp(min=1e-6)  # a margin of 0 could cover no error


def group_names(group_by: str | None, classes: Sequence[str]) -> tuple[str, ...]:
    """Names of the groups of detections.

    Args:
        group_by: BY_CLASS, BY_SIZE, or None.
        classes: names of the classes.

    Returns:
        In the order of :func:`group_indices`; () without groups.
    """
    return {BY_CLASS: tuple(classes), BY_SIZE: tuple(SIZES), None: ()}[group_by]


def group_indices(group_by: str | None, boxes: Tensor, labels: Tensor) -> Tensor:
    """The group of each detection.

    Args:
        group_by: BY_CLASS, BY_SIZE (of the predicted box, since the true one is not known in use), or None.
        boxes: (N, 4) x1, y1, x2, y2 in pixels of the original image.
        labels: (N,) class indices.

    Returns:
        (N,) int64; 0 without groups.
    """
    if group_by == BY_CLASS:
        return labels
    if group_by == BY_SIZE:
        area = (boxes[:, 2:] - boxes[:, :2]).prod(dim=1)
        return torch.bucketize(area, boxes.new_tensor([low for low, _ in SIZES.values()][1:]), right=True)
    return torch.zeros_like(labels)


def inner_and_outer(boxes: Tensor, margins: Tensor) -> tuple[Tensor, Tensor]:
    """The boxes between which the true box lies if each of its sides is within the margin of the predicted one.

    A side of the inner box does not go beyond the center of the predicted box. This loses nothing: a box with an IoU of
    at least 0.5 contains that center, since it covers at least half of the predicted box's width and height.

    Args:
        boxes: (N, 4) x1, y1, x2, y2.
        margins: (N, 4) for left, top, right, bottom, in the unit of the boxes, >= 0.

    Returns:
        (N, 4) inner and (N, 4) outer boxes. The outer ones may reach beyond the image.
    """
    low, high = boxes[:, :2], boxes[:, 2:]
    near, far = margins[:, :2], margins[:, 2:]
    center = (low + high) / 2
    inner = torch.cat([torch.minimum(low + near, center), torch.maximum(high - far, center)], dim=1)
    return inner, torch.cat([low - near, high + far], dim=1)


def _are_names(classes: object, group_by: str | None) -> bool:
    """Whether a value is a tuple of strings; as names of groups they must differ from each other and EVERYTHING."""
    if not isinstance(classes, tuple) or not all(isinstance(name, str) for name in classes):
        return False
    return group_by != BY_CLASS or len({*classes, EVERYTHING}) == len(classes) + 1


def _are_margins(quantiles: object) -> bool:
    """Whether a value is a mapping to four finite numbers >= 0 per group, with EVERYTHING."""
    if not isinstance(quantiles, Mapping) or EVERYTHING not in quantiles:
        return False
    rows = list(quantiles.values())
    numbers = [number for row in rows if isinstance(row, (list, tuple)) for number in row]
    return (
        all(isinstance(row, (list, tuple)) and len(row) == 4 for row in rows)
        and all(isinstance(number, (int, float)) and not isinstance(number, bool) for number in numbers)
        and all(0 <= number < float("inf") for number in numbers)
    )
