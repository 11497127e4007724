"""Conflicts between objects and the list of positives are the same for every kernel."""

from __future__ import annotations

from dataclasses import fields

import pytest
import torch
from kernels import BACKENDS, with_threads
from mmengine.structures import InstanceData

from gfl_plugin.assigners import ATSSAssigner, ATSSAssignment, Candidates
from gfl_plugin.ops.backend import use_backend
from gfl_plugin.structures.grid import Grid, Layout
from gfl_plugin.structures.ground_truths import GroundTruths
from gfl_plugin.structures.positives import Positives
from gfl_plugin.structures.valid_regions import ValidRegions

STRIDES = (8, 16, 32)
LAYOUT = Layout(tuple(map(float, STRIDES)), tuple((-4.0 * s, -4.0 * s, 4.0 * s, 4.0 * s) for s in STRIDES))


def crowd(counts: tuple[int, ...]) -> tuple[GroundTruths, Grid, ValidRegions]:
    """Images of 64 x 96 pixels with overlapping objects, every third of which is there twice."""
    instances = []
    for count in counts:
        boxes = (90 * torch.rand(count, 2, 2)).sort(dim=1).values.flatten(1)
        boxes[2::3] = boxes[1::3][: len(boxes[2::3])]
        instances.append(InstanceData(bboxes=boxes, labels=torch.zeros(count, dtype=torch.int64)))
    grid = Grid.of(LAYOUT, [(64 // stride, 96 // stride) for stride in STRIDES], "cpu")
    regions = ValidRegions.of(grid, [dict(img_shape=(64, 96), pad_shape=(64, 96))] * len(counts))
    return GroundTruths.of(instances, torch.device("cpu")), grid, regions


def positives(scene: tuple[GroundTruths, Grid, ValidRegions], backend: str) -> Positives:
    """The positives of ATSS with a kernel."""
    truths, grid, regions = scene
    with use_backend(backend):
        return ATSSAssigner().assign_batch(truths, None, grid, regions).positives


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_prior_goes_to_the_first_object_of_highest_overlap_also_of_negative_ones(backend: str) -> None:
    """Generalized IoUs are negative. Four objects compete for each of six priors of two images."""
    overlap = (torch.rand(2, 4, 6) * 12 - 8).round() / 8
    overlap[overlap == 0] *= -1  # some are -0
    selected = torch.rand(2, 4, 6) < 0.7
    truths = GroundTruths(torch.zeros(8, 4), torch.zeros(8, dtype=torch.int64), torch.arange(8) // 4, (4, 4))
    candidates = Candidates(
        prior=torch.arange(6).repeat(8, 1), distance=torch.zeros(8, 6), iou=overlap.view(8, 6),
        inside=torch.ones(8, 6, dtype=torch.bool), valid=torch.ones(8, 6, dtype=torch.bool), counts=(6,),
    )  # fmt: skip
    assignment = ATSSAssignment(truths, candidates, torch.zeros(8), selected.view(8, 6), num_priors=6)
    with use_backend(backend):
        won = assignment.won.view(2, 4, 6)
    for image in range(2):
        for prior in range(6):
            rivals = selected[image, :, prior].nonzero().flatten().tolist()
            best = max(rivals, key=lambda one: (float(overlap[image, one, prior]), -one), default=None)
            assert won[image, :, prior].nonzero().flatten().tolist() == ([] if best is None else [best])
    assert (overlap[won] < 0).any() and (overlap[won] > 0).any()


@pytest.mark.skipif("numba" not in BACKENDS, reason="Numba is not installed")
@pytest.mark.parametrize("counts", [(0,), (1,), (40, 0, 90)])
def test_the_compiled_loops_give_pytorchs_positives(counts: tuple[int, ...]) -> None:
    """Row by row, for one thread and for two, also for objects of equal IoU, of which the first gets the prior."""
    scene = crowd(counts)
    expected = positives(scene, "torch")
    for threads in (1, 2):
        found = with_threads(threads, lambda: positives(scene, "numba"))
        for field in fields(Positives):
            a, b = getattr(found, field.name), getattr(expected, field.name)
            assert a == b if field.name == "counts" else torch.equal(a, b), field.name
    places = torch.stack([expected.image, expected.level, expected.location])
    assert places.unique(dim=1).shape == places.shape
    assert len(places.t()) >= sum(counts) // 2
