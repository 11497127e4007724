"""Calibrated margins: their groups and units, and the boxes between which the true box lies."""

from __future__ import annotations

import re

import gfl_plugin  # noqa: F401  # isort: skip  (must precede mmdet without compiled ops)
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from gfl_plugin.metrics.matching import pairwise_overlap
from gfl_plugin.structures.calibration import (
    GROUPINGS,
    STATEMENTS,
    UNITS,
    Calibration,
    group_indices,
    group_names,
    inner_and_outer,
    margin_units,
)
from gfl_plugin.structures.side_fields import flipped_fields, scaled_fields

CLASSES = ("cat", "dog", "cow")
VALID = dict(
    level=0.9,
    statement="box",
    unit="std",
    quantiles={"all": (1.0, 2.0, 3.0, 4.0)},
    classes=CLASSES,
    head="0123456789abcdef",
    iou_thr=0.5,
)
BOXES = torch.tensor([[0.0, 0, 30, 30], [5, 5, 37, 37], [0, 0, 96, 96], [3, 3, 3, 80], [0, 0, 400, 100]])
LABELS = torch.tensor([2, 0, 1, 2, 0])


@st.composite
def pairs(draw: st.DrawFn) -> tuple[list[float], list[float]]:
    """A predicted and a true box with an IoU of at least 0.5, on a grid of 1/8 px: sums and centers are exact."""
    x, y = draw(st.integers(-300, 300)), draw(st.integers(-300, 300))
    width, height = draw(st.integers(1, 300)), draw(st.integers(1, 300))
    shift = [draw(st.integers(-size // 2 - 1, size // 2 + 1)) for size in (width, height, width, height)]
    predicted = [x, y, x + width, y + height]
    true = [side + by for side, by in zip(predicted, shift)]
    assume(pairwise_overlap([predicted], [true])[0, 0] >= 0.5)
    return [side / 4 for side in predicted], [side / 4 for side in true]


@settings(max_examples=100)
@given(pair=pairs(), extra=st.lists(st.sampled_from([0.0, 0.125, 3.0, 1000.0]), min_size=4, max_size=4))
def test_the_true_box_lies_between_inner_and_outer_box(pair: tuple, extra: list[float]) -> None:
    """With any margins that are not below the errors, also if they are much larger than the box."""
    predicted, true = torch.tensor(pair, dtype=torch.float64)
    margins = (true - predicted).abs() + torch.tensor(extra)
    inner, outer = (box[0] for box in inner_and_outer(predicted[None], margins[None]))
    assert (outer[:2] <= true[:2]).all() and (true[:2] <= inner[:2]).all()
    assert (inner[2:] <= true[2:]).all() and (true[2:] <= outer[2:]).all()
    assert (inner[:2] <= inner[2:]).all()  # it is never inverted


def test_inner_and_outer_boxes_of_known_margins() -> None:
    """The second margin of the first box and all margins of the second box go beyond the center."""
    boxes = torch.tensor([[0.0, 0, 10, 20], [10, 10, 20, 30]])
    inner, outer = inner_and_outer(boxes, torch.tensor([[1.0, 12, 2, 3], [6, 11, 7, 12]]))
    assert inner.tolist() == [[1, 10, 8, 17], [15, 20, 15, 20]]
    assert outer.tolist() == [[-1, -12, 12, 23], [4, -1, 27, 42]]


def test_an_iou_of_a_half_is_the_limit_of_the_inner_box() -> None:
    """At an IoU of exactly 0.5, the true side may be at the center; below, it may be beyond, which no margin covers."""
    predicted = torch.tensor([[0.0, 0, 10, 10]])
    for side, iou in ((5.0, 0.5), (5.5, 0.45)):
        assert pairwise_overlap(predicted, [[side, 0, 10, 10]])[0, 0] == pytest.approx(iou)
        inner, _ = inner_and_outer(predicted, torch.full((1, 4), 9.0))
        assert bool(inner[0, 0] >= side) == (iou >= 0.5)


def size_of(box: list[float]) -> str:
    area = (box[2] - box[0]) * (box[3] - box[1])
    return "small" if area < 1024 else "medium" if area < 9216 else "large"


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_groups(dtype: torch.dtype) -> None:
    """Sizes are COCO's, of which the lower limits belong to the larger size."""
    boxes = BOXES.to(dtype)
    assert [size_of(box) for box in boxes.tolist()] == ["small", "medium", "large", "small", "large"]
    names = group_names("size", CLASSES)
    assert [names[i] for i in group_indices("size", boxes, LABELS)] == [size_of(box) for box in boxes.tolist()]
    assert [group_names("class", CLASSES)[i] for i in group_indices("class", boxes, LABELS)] == [
        CLASSES[label] for label in LABELS
    ]
    assert group_indices(None, boxes, LABELS).tolist() == [0] * 5 and group_names(None, CLASSES) == ()


@pytest.mark.parametrize("group_by", [None, "class", "size"])
@pytest.mark.parametrize("unit", UNITS)
def test_margins_are_quantiles_times_units(unit: str, group_by: str | None) -> None:
    """Groups without quantiles of their own have those of all detections."""
    own = {None: {}, "class": {"dog": (5.0, 6, 7, 8)}, "size": {"small": (5.0, 6, 7, 8), "large": (0.0, 1, 2, 9)}}
    quantiles = {"all": (1.0, 2, 3, 4), **own[group_by]}
    calibration = Calibration(**{**VALID, "unit": unit, "group_by": group_by, "quantiles": quantiles})
    std = torch.rand(5, 4) + 0.5
    found = calibration.margins(BOXES, LABELS, std)
    for row, (box, label) in enumerate(zip(BOXES.tolist(), LABELS.tolist())):
        name = {None: "all", "class": CLASSES[label], "size": size_of(box)}[group_by]
        sides = [max(box[2] - box[0], 1e-6), max(box[3] - box[1], 1e-6)]
        units = {"std": std[row].tolist(), "size": sides * 2, "constant": [1.0] * 4}[unit]
        expected = [q * one for q, one in zip(quantiles.get(name, quantiles["all"]), units)]
        assert found[row].tolist() == pytest.approx(expected, rel=1e-6)
    assert calibration.fields == (("bbox_std",) if unit == "std" else ())


@pytest.mark.parametrize("unit", UNITS)
def test_no_detections_have_no_margins(unit: str) -> None:
    for group_by in (None, *GROUPINGS):
        calibration = Calibration(**{**VALID, "unit": unit, "group_by": group_by})
        assert calibration.margins(torch.zeros(0, 4), LABELS[:0], torch.zeros(0, 4)).shape == (0, 4)


def test_units_are_positive() -> None:
    """Otherwise a box without width, or a deviation of 0, would have a score that is not finite."""
    assert margin_units("size", BOXES, None)[3].tolist() == pytest.approx([1e-6, 77, 1e-6, 77])
    assert (margin_units("std", BOXES, torch.zeros(5, 4)) > 0).all()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (dict(level=1), "level is 1; it must be a number between 0 and 1"),
        (dict(level=float("nan")), "level is nan; "),
        (dict(level="0.9"), "level is '0.9'; "),
        (dict(statement="boxes"), "statement is 'boxes'; it must be one of " + ", ".join(STATEMENTS)),
        (dict(unit="sigma"), "unit is 'sigma'; it must be one of " + ", ".join(UNITS)),
        (dict(group_by="area"), "group_by is 'area'; it must be one of class, size, or null"),
        (dict(quantiles={}), "quantiles is {}; it must be four numbers >= 0 for 'all' and for each group"),
        (dict(quantiles={"all": (1.0, 2.0, 3.0)}), "quantiles is "),
        (dict(quantiles={"all": (1.0, 2.0, 3.0, -1.0)}), "quantiles is "),
        (dict(quantiles={"all": (1.0, 2.0, 3.0, float("nan"))}), "quantiles is "),
        (dict(quantiles={"all": (1.0, 2.0, 3.0, float("inf"))}), "quantiles is "),
        (dict(quantiles={"all": (1.0, 2.0, 3.0, True)}), "quantiles is "),
        (dict(quantiles={"all": 3.0}), "quantiles is "),
        (dict(quantiles={"cat": (1.0,) * 4}), "quantiles is "),
        (dict(quantiles={"all": (1.0,) * 4, "cat": (1.0,) * 4}), "quantiles has cat; the groups are "),
        (
            dict(group_by="class", quantiles={"all": (1.0,) * 4, "small": (1.0,) * 4}),
            "quantiles has small; the groups are cat, dog, cow",
        ),
        (dict(group_by="class", classes=("cat", "all", "cow")), "classes is ('cat', 'all', 'cow'); it must be names"),
        (dict(group_by="class", classes=("cat", "cat", "cow")), "classes is ('cat', 'cat', 'cow'); it must be names"),
        (dict(classes=(1, 2, 3)), "classes is (1, 2, 3); it must be names of classes"),
        (dict(about=None), "about is None; it must be a mapping"),
        (dict(test_cfg=[1]), "test_cfg is [1]; it must be a mapping"),
    ],
    ids=lambda one: repr(one)[:40] if isinstance(one, dict) else "",
)
def test_contradictions_are_errors(changes: dict, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        Calibration(**{**VALID, **changes})


def test_equal_names_of_classes_are_no_error_without_groups_by_class() -> None:
    Calibration(**{**VALID, "classes": ("cat", "all", "cat"), "group_by": "size"})


@pytest.mark.parametrize("direction", ["horizontal", "vertical", "diagonal"])
def test_intervals_of_a_flipped_image(direction: str) -> None:
    """Flipping boxes and margins, and flipping the boxes between which the true box lies, is the same."""
    sides = {"horizontal": [2, 1, 0, 3], "vertical": [0, 3, 2, 1], "diagonal": [2, 3, 0, 1]}[direction]
    height, width = 128, 512
    signed = {"horizontal": (width, None), "vertical": (None, height), "diagonal": (width, height)}[direction]
    low, high = BOXES[:, :2], BOXES[:, 2:]
    axes = [
        (high[:, k], low[:, k]) if size is None else (size - low[:, k], size - high[:, k])
        for k, size in enumerate(signed)
    ]
    flipped = torch.stack([axes[0][1], axes[1][1], axes[0][0], axes[1][0]], dim=1)
    margins = torch.randint(0, 200, (5, 4)) / 4
    fields = dict(zip(("bbox_inner", "bbox_outer"), inner_and_outer(BOXES, margins)), bbox_std=margins)
    expected = inner_and_outer(flipped, margins[:, sides])
    found = flipped_fields(fields, direction, (height, width))
    for name, values in zip(("bbox_inner", "bbox_outer"), expected):
        assert torch.equal(found[name], values), name
    twice = flipped_fields(found, direction, (height, width))
    assert all(torch.equal(twice[name], values) for name, values in fields.items())


def test_intervals_of_a_scaled_image() -> None:
    margins, factor = torch.rand(5, 4) * 40, torch.tensor([2.0, 0.5, 2.0, 0.5])
    fields = dict(zip(("bbox_inner", "bbox_outer"), inner_and_outer(BOXES, margins)))
    expected = inner_and_outer(BOXES * factor, margins * factor)
    for (name, values), other in zip(scaled_fields(fields, factor.expand(5, 4)).items(), expected):
        assert torch.allclose(values, other), name
