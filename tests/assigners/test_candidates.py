"""Each backend's search for candidates equals sorting all priors by distance."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mmdet.models.task_modules.assigners import BboxOverlaps2D
from mmdet.models.task_modules.prior_generators import AnchorGenerator
from mmengine.structures import InstanceData

from gfl_plugin.assigners.candidates import all_priors, candidates_in_list, candidates_on_grid
from gfl_plugin.ops.backend import installed, use_backend
from gfl_plugin.structures.grid import Grid, Layout
from gfl_plugin.structures.ground_truths import GroundTruths
from gfl_plugin.structures.valid_regions import ValidRegions

BACKENDS = ["torch", "numba"] if installed("numba") else ["torch"]


@pytest.mark.parametrize("backend", BACKENDS)
@settings(max_examples=80)
@given(
    seed=st.integers(0, 2**31),
    size=st.tuples(st.integers(16, 200), st.integers(16, 200)),
    own=st.tuples(st.floats(0.3, 1.0), st.floats(0.3, 1.0)),
    objects=st.integers(0, 12),
    topk=st.integers(1, 20),
    border=st.sampled_from([-1, 0, 30]),
)
def test_candidates_are_the_nearest_priors(
    backend: str,
    seed: int,
    size: tuple[int, int],
    own: tuple[float, float],
    objects: int,
    topk: int,
    border: int,
) -> None:
    torch.manual_seed(seed)
    generator = AnchorGenerator(strides=[8, 16, 32], ratios=[1.0], octave_base_scale=4, scales_per_octave=1)
    grid = Grid.of(Layout.of(generator), [(-(-size[0] // s), -(-size[1] // s)) for s in (8, 16, 32)], "cpu")
    shape = tuple(max(8, int(side * part)) for side, part in zip(size, own))
    try:
        regions = ValidRegions.of(grid, [dict(img_shape=shape, pad_shape=shape)], border)
    except ValueError:
        return  # no prior inside the border
    corners = 220 * torch.rand(objects, 2, 2) - 10  # some centers lie outside the image
    truth = InstanceData(bboxes=corners.sort(dim=1).values.flatten(1), labels=torch.zeros(objects, dtype=torch.int64))
    truths = GroundTruths.of([truth], torch.device("cpu"))

    with use_backend(backend):
        found = candidates_on_grid(truths, grid, regions, topk, BboxOverlaps2D())
    owned = torch.cat([mask.flatten(1) > 0 for mask in regions.masks(grid)], dim=1).expand(objects, -1)
    everything = candidates_in_list(
        truths.boxes, all_priors(grid), grid.starts, topk, owned, torch.zeros_like(owned), BboxOverlaps2D()
    )

    # A level with fewer than topk priors has fewer slots in the list; on the grid the remaining slots are invalid.
    ends = [sum(everything.counts[: level + 1]) for level in range(3)]
    slots = [level * topk + i for level, count in enumerate(everything.counts) for i in range(count)]
    assert found.counts == (topk,) * 3 and ends[-1] == len(slots)
    assert not found.valid[:, [i for i in range(3 * topk) if i not in slots]].any()
    for field in dataclasses.fields(found):
        if field.name in ("distance", "valid"):
            ours, theirs = getattr(found, field.name)[:, slots], getattr(everything, field.name)
            assert torch.allclose(ours.float(), theirs.float(), rtol=1e-5, atol=1e-4)
    # The fields of each candidate are right; either one of two equally near priors may be selected.
    boxes = all_priors(grid)[found.prior]
    iou = BboxOverlaps2D()(boxes.flatten(0, 1), truths.boxes.repeat_interleave(3 * topk, dim=0), is_aligned=True)
    assert torch.equal(found.iou.flatten()[found.valid.flatten()], iou[found.valid.flatten()])
    center = (boxes[..., :2] + boxes[..., 2:]) / 2
    box = truths.boxes[:, None]
    inside = ((center - box[..., :2] > 0.01) & (box[..., 2:] - center > 0.01)).all(dim=-1)
    assert torch.equal(found.inside[found.valid], inside[found.valid])
    away = (center - (box[..., :2] + box[..., 2:]) / 2).norm(dim=-1)
    assert torch.allclose(away[found.valid], found.distance[found.valid], rtol=1e-5, atol=1e-4)
    assert torch.gather(owned, 1, found.prior)[found.valid].all()
    for row, valid in zip(found.prior, found.valid):
        assert len(row[valid].unique()) == int(valid.sum())
