"""With ``min_positives``, objects are given the priors that the rule in plain loops gives them."""

from __future__ import annotations

import math
from dataclasses import replace
from unittest import mock

import pytest
import torch
from cases import Recipe, losses_and_gradients, our_head, random_batch
from hypothesis import given, settings
from hypothesis import strategies as st
from mmdet.models.task_modules.assigners import ATSSAssigner as MMDetATSSAssigner
from mmengine.structures import InstanceData
from torch import Tensor

from gfl_plugin.assigners import ATSSAssigner, ATSSAssignment, best_priors
from gfl_plugin.assigners.candidates import all_priors
from gfl_plugin.ops.backend import installed, use_backend
from gfl_plugin.structures.grid import Grid, Layout
from gfl_plugin.structures.ground_truths import GroundTruths
from gfl_plugin.structures.valid_regions import ValidRegions

BACKENDS = ["torch", "numba"] if installed("numba") else ["torch"]
STRIDES = (8, 16, 32)
LAYOUT = Layout(tuple(map(float, STRIDES)), tuple((-4.0 * s, -4.0 * s, 4.0 * s, 4.0 * s) for s in STRIDES))


def scene(
    images: list[list[list[float]]], size: tuple[int, int], own: tuple[int, int] | None = None
) -> tuple[GroundTruths, Grid, ValidRegions]:
    """Boxes of each image, on a grid for images of ``size`` (H, W); ``own`` is the size without padding."""
    instances = [
        InstanceData(bboxes=torch.tensor(boxes).view(-1, 4), labels=torch.zeros(len(boxes), dtype=torch.int64))
        for boxes in images
    ]
    grid = Grid.of(LAYOUT, [tuple(math.ceil(side / stride) for side in size) for stride in STRIDES], "cpu")
    meta = dict(img_shape=own or size, pad_shape=own or size)
    return GroundTruths.of(instances, torch.device("cpu")), grid, ValidRegions.of(grid, [meta] * len(images))


def owners(assignment: ATSSAssignment, chosen: Tensor) -> dict[tuple[int, int], int]:
    """{(image, prior): object} of the chosen candidates."""
    found = {}
    for row, slot in chosen.nonzero().tolist():
        key = (int(assignment.truths.image[row]), int(assignment.candidates.prior[row, slot]))
        assert key not in found, "a prior is positive for two objects"
        found[key] = row
    return found


def by_the_rule(
    truths: GroundTruths,
    preferences: list[dict[tuple[int, int], tuple[float, float]]],
    holder: dict[tuple[int, int], int],
    k: int,
) -> dict[tuple[int, int], int]:
    """The rule of ``best_priors``, in loops.

    ``preferences`` are the priors that each object may be given, with minus the IoU, and the distance of the centers.
    """
    holder = dict(holder)
    count = [0] * len(preferences)
    for row in holder.values():
        count[row] += 1
    while True:
        asked: dict[tuple[int, int], list] = {}
        for row, prefers in enumerate(preferences):
            if bool(truths.empty[row]) or count[row] >= k:
                continue
            is_open = [
                (*order, prior) for prior, order in prefers.items() if prior not in holder or count[holder[prior]] > k
            ]
            if is_open:
                *order, prior = min(is_open)
                asked.setdefault(prior, []).append((*order, row, prior))
        if not asked:
            return holder
        first = [min(rows) for rows in asked.values()]
        givers: dict[int, list] = {}
        for one in first:
            if one[3] in holder:
                givers.setdefault(holder[one[3]], []).append(one)
        for one in first:
            previous = holder.get(one[3])
            if previous is None or one == min(givers[previous]):
                holder[one[3]] = one[2]
                count[one[2]] += 1
                if previous is not None:
                    count[previous] -= 1


def candidates_of(assignment: ATSSAssignment) -> list[dict[tuple[int, int], tuple[float, float]]]:
    """The candidates that an object may be given."""
    candidates, image = assignment.candidates, assignment.truths.image.tolist()
    rows = zip(*(part.tolist() for part in (candidates.prior, candidates.iou, candidates.distance, candidates.valid)))
    return [
        {(image[row], p): (-iou, far) for p, iou, far, valid in zip(*parts) if valid and iou > 0 and far < 1e8}
        for row, parts in enumerate(rows)
    ]


def all_of(truths: GroundTruths, grid: Grid, regions: ValidRegions) -> list[dict[tuple[int, int], tuple[float, float]]]:
    """All valid priors that overlap each object, with IoU and distance computed one by one."""
    priors = all_priors(grid).tolist()
    valid = torch.cat([mask.flatten(1) > 0 for mask in regions.masks(grid)], dim=1).tolist()
    found = []
    for box, image in zip(truths.boxes.tolist(), truths.image.tolist()):
        own = {}
        for number, prior in enumerate(priors):
            width = min(box[2], prior[2]) - max(box[0], prior[0])
            height = min(box[3], prior[3]) - max(box[1], prior[1])
            if valid[image][number] and width > 0 and height > 0:
                areas = [(one[2] - one[0]) * (one[3] - one[1]) for one in (box, prior)]
                iou = width * height / (sum(areas) - width * height)
                apart = [(box[i] + box[i + 2] - prior[i] - prior[i + 2]) / 2 for i in range(2)]
                own[image, number] = (-iou, math.hypot(*apart))
        found.append(own)
    return found


# Corners on a grid of 1/4 px: sums and products are exact in fp32, so that equal values are equal in both computations.
quarters = st.integers(0, 4 * 72).map(lambda value: value / 4)
short = st.integers(0, 4 * 9).map(lambda value: value / 4)
small_boxes = st.tuples(quarters, quarters, short, short).map(lambda b: [b[0], b[1], b[0] + b[2], b[1] + b[3]])
large_boxes = st.tuples(quarters, quarters, quarters, quarters).map(
    lambda b: [min(b[0], b[2]), min(b[1], b[3]), max(b[0], b[2]), max(b[1], b[3])]
)
boxes = st.one_of(small_boxes, large_boxes)
cells = st.tuples(short, short).map(lambda b: [17 + b[0] / 4, 17 + b[1] / 4, 19.5 + b[0] / 4, 19.5 + b[1] / 4])


@pytest.mark.parametrize("backend", BACKENDS)
@settings(max_examples=150)
@given(
    images=st.lists(
        st.one_of(
            st.lists(boxes, max_size=8),
            st.lists(small_boxes, max_size=40),  # many tiny objects
            st.lists(cells, max_size=15),  # in one cell
            boxes.map(lambda box: [box] * 5),  # equal boxes
        ),
        min_size=1,
        max_size=3,
    ),
    own=st.tuples(st.integers(9, 72), st.integers(9, 72)),
    topk=st.sampled_from([1, 4, 9]),
    k=st.integers(1, 4),
)
def test_the_rule_in_plain_loops(
    backend: str, images: list[list[list[float]]], own: tuple[int, int], topk: int, k: int
) -> None:
    truths, grid, regions = scene(images, (72, 72), own)
    with use_backend(backend):
        assignment = ATSSAssigner(topk, min_positives=k).select(truths, grid, regions)
        stock = ATSSAssigner(topk).select(truths, grid, regions)
    assert torch.equal(assignment.won, stock.positive)
    before = owners(assignment, assignment.won)
    expected = by_the_rule(truths, candidates_of(assignment), before, k)
    assert owners(assignment, assignment.positive) == expected
    # Nobody is left with less than before, except for what is above the minimum.
    was, now = assignment.won.sum(dim=1), assignment.positive.sum(dim=1)
    assert (now >= was.clamp(max=k)).all()
    assert not assignment.positive[truths.empty].any()


@settings(max_examples=150)
@given(
    images=st.lists(st.lists(boxes, max_size=2), min_size=1, max_size=4),
    own=st.tuples(st.integers(9, 72), st.integers(9, 72)),
)
def test_two_objects_get_the_best_of_all_priors(images: list[list[list[float]]], own: tuple[int, int]) -> None:
    """The candidates contain the best two of all priors, so the rule gives the same with all priors of the image."""
    truths, grid, regions = scene(images, (72, 72), own)
    assignment = ATSSAssigner(9, min_positives=1).select(truths, grid, regions)
    expected = by_the_rule(truths, all_of(truths, grid, regions), owners(assignment, assignment.won), 1)
    assert owners(assignment, assignment.positive) == expected


def test_more_objects_than_locations() -> None:
    """Each of the 2·2 + 1 + 1 locations goes to one of nine objects, and none to two."""
    boxes = [[6.5 + i / 8, 6.5 + i / 4, 7.5 + i / 8, 7.5 + i / 4] for i in range(9)]
    truths, grid, regions = scene([boxes], (16, 16))
    assignment = ATSSAssigner(9, min_positives=1).select(truths, grid, regions)
    assert assignment.positive.sum(dim=1).sort().values.tolist() == [0] * 3 + [1] * 6
    assert len(owners(assignment, assignment.positive)) == 6
    many = ATSSAssigner(9, min_positives=3).select(truths, grid, regions)
    assert many.positive.sum(dim=1).max() <= 3 and len(owners(many, many.positive)) == 6


def test_the_only_positive_of_another_object_is_not_taken() -> None:
    """The second object's best prior is the first one's only positive, so that it gets the next best."""
    boxes = [[15.0, 15.0, 17.0, 17.0], [16.5, 16.5, 18.0, 18.0]]
    truths, grid, regions = scene([boxes], (72, 72))
    assignment = ATSSAssigner(9, min_positives=1).select(truths, grid, regions)
    (kept,) = (prior for (_, prior), row in owners(assignment, assignment.won).items() if row == 0)
    found = {row: prior for (_, prior), row in owners(assignment, assignment.positive).items()}
    assert found[0] == kept == 2 * 9 + 2  # the location at (16, 16)
    assert found[1] in (2 * 9 + 3, 3 * 9 + 2)  # (24, 16) or (16, 24), equally near


def test_equal_objects_share_their_positives() -> None:
    """Two labels for one box: the second object gets the best prior, and the first one keeps the others."""
    box = [20.0, 20.0, 61.0, 58.0]
    truths, grid, regions = scene([[box, box]], (72, 72))
    assignment = ATSSAssigner(9, min_positives=1).select(truths, grid, regions)
    was, now = assignment.won.sum(dim=1).tolist(), assignment.positive.sum(dim=1).tolist()
    assert was[0] > 1 and was[1] == 0
    assert now == [was[0] - 1, 1]
    given_slot = int(assignment.positive[1].nonzero())
    assert assignment.candidates.iou[1, given_slot] == assignment.candidates.iou[1].max()


@settings(max_examples=60)
@given(seed=st.integers(0, 2**31), objects=st.integers(0, 40), k=st.integers(1, 3))
def test_order_of_objects_has_no_effect(seed: int, objects: int, k: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    corner = 64 * torch.rand(objects, 2, generator=generator)
    boxes = torch.cat([corner, corner + 0.5 + 9 * torch.rand(objects, 2, generator=generator)], dim=1)
    order = torch.randperm(objects, generator=generator)
    results = []
    for rows in (boxes, boxes[order]):
        truths, grid, regions = scene([rows.tolist()], (72, 72))
        assignment = ATSSAssigner(9, min_positives=k).select(truths, grid, regions)
        results.append(owners(assignment, assignment.positive))
    assert results[0] == {prior: int(order[row]) for prior, row in results[1].items()}


@settings(max_examples=60)
@given(images=st.lists(st.lists(boxes, max_size=6), min_size=1, max_size=3), k=st.integers(1, 2))
def test_a_fixed_number_of_rounds_gives_the_same(images: list[list[list[float]]], k: int) -> None:
    """As on a GPU, where the host does not see whether an object still asks."""
    truths, grid, regions = scene(images, (72, 72))
    assignment = ATSSAssigner(9, min_positives=k).select(truths, grid, regions)
    with (
        mock.patch.object(best_priors, "on_host", lambda tensor: False),
        mock.patch.object(best_priors, "LOST_ROUNDS", 12),
    ):
        fixed = assignment.positive
    assert torch.equal(fixed, assignment.positive)


def test_no_location_in_an_ignored_region_is_given() -> None:
    """The tiny object's nearest locations are ignored, so that it gets the best one that is not."""
    truths, grid, regions = scene([[[18.5, 18.5, 21.5, 21.5]]], (72, 72))
    (ignored, _, _) = scene([[[-20.0, -40.0, 54.0, 60.0]]], (72, 72))
    assigner = ATSSAssigner(9, ignore_iof_thr=0.9, min_positives=1)
    locations = assigner.ignored_locations(ignored, truths, grid)
    blocked = torch.cat([mask.flatten(1) for mask in locations], dim=1)[0]
    assert blocked[2 * 9 + 2]
    assignment = assigner.select(truths, grid, regions, locations)
    ((_, prior),) = owners(assignment, assignment.positive)
    assert not blocked[prior]
    allowed = {key: order for key, order in all_of(truths, grid, regions)[0].items() if not blocked[key[1]]}
    assert allowed[0, prior] == min(allowed.values())
    everything = replace(assignment, min_positives=0)
    assert not everything.positive.any()


@settings(max_examples=40)
@given(seed=st.integers(0, 2**31), objects=st.integers(0, 30))
def test_assign_of_one_image_gives_the_same(seed: int, objects: int) -> None:
    """``assign`` with MMDetection's interface gives what the batch gets, and MMDetection's result without a minimum."""
    generator = torch.Generator().manual_seed(seed)
    corner = 64 * torch.rand(objects, 2, generator=generator)
    boxes = torch.cat([corner, corner + 20 * torch.rand(objects, 2, generator=generator) ** 2], dim=1)
    truths, grid, regions = scene([boxes.tolist()], (72, 72))
    counts = [height * width for height, width in grid.sizes]
    priors, truth = InstanceData(priors=all_priors(grid)), InstanceData(bboxes=boxes, labels=truths.labels)
    found = ATSSAssigner(9, min_positives=1).assign(priors, counts, truth)
    assignment = ATSSAssigner(9, min_positives=1).select(truths, grid, regions)
    expected = {prior: row for (_, prior), row in owners(assignment, assignment.positive).items()}
    assert {prior: row - 1 for prior, row in enumerate(found.gt_inds.tolist()) if row > 0} == expected
    stock = MMDetATSSAssigner(9).assign(priors, counts, truth)
    assert torch.equal(ATSSAssigner(9, min_positives=0).assign(priors, counts, truth).gt_inds, stock.gt_inds)


def test_training_with_tiny_objects() -> None:
    """Each of the objects is in the loss, whose gradients are finite although the locations lie outside of them."""
    head = our_head(train_cfg=dict(assigner=dict(min_positives=1)))
    seen: list[ATSSAssignment] = []
    head.assigner.hooks.append(seen.append)
    batch = random_batch(Recipe(images=1, objects=(0,)))
    corner = torch.tensor([[18.0, 18.0], [27.0, 11.0], [43.0, 35.0]])
    batch.gt_instances = [InstanceData(bboxes=torch.cat([corner, corner + 3], dim=1), labels=torch.tensor([0, 1, 2]))]
    _, of_scores, of_boxes = losses_and_gradients(head, batch)
    (assignment,) = seen
    assert not assignment.won.any() and assignment.positive.sum(dim=1).tolist() == [1, 1, 1]
    assert all(level.isfinite().all() for level in (*of_scores, *of_boxes))
    assert [int((level != 0).any(dim=1).sum()) for level in of_boxes] == [3, 0, 0]


@pytest.mark.parametrize("value", [-1, True, 1.0, "1", None])
def test_mistakes(value: object) -> None:
    with pytest.raises(ValueError, match="min_positives is .*; it must be a whole number >= 0"):
        ATSSAssigner(9, min_positives=value)
