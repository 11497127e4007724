"""Positives and ground truths as flat lists."""

from __future__ import annotations

import pytest
import torch
from mmengine.structures import InstanceData

from gfl_plugin.ops.buffer_pool import zeros
from gfl_plugin.structures.ground_truths import GroundTruths
from gfl_plugin.structures.positives import Positives, gather_locations


def test_gather_and_its_gradient_equal_indexing() -> None:
    """For positives with an inactive row that has the location of an active one; indexed is a permuted copy."""
    maps = [torch.randn(2, 3, 4, 5, requires_grad=True), torch.randn(2, 3, 2, 2, requires_grad=True)]
    positives = Positives(
        image=torch.tensor([0, 1, 1, 0]),
        level=torch.tensor([0, 0, 0, 1]),
        location=torch.tensor([7, 19, 19, 3]),
        gt_index=torch.arange(4),
        active=torch.tensor([True, True, False, True]),
        counts=(3, 1),
    )
    rows = gather_locations(maps, positives)
    copies = [level.permute(0, 2, 3, 1).reshape(2, -1, 3) for level in maps]
    expected = torch.stack([copies[lv][i, j] for lv, i, j in zip((0, 0, 0, 1), (0, 1, 1, 0), (7, 19, 19, 3))])
    assert torch.equal(rows, expected)
    factor = torch.randn_like(rows)
    found = torch.autograd.grad((rows * factor).sum(), maps)
    wanted = torch.autograd.grad((expected * factor * positives.active[:, None]).sum(), maps)
    for a, b in zip(found, wanted):
        assert torch.allclose(a, b)


def test_ground_truths_are_flat_and_finite() -> None:
    instances = [
        InstanceData(bboxes=torch.tensor([[0.0, 0.0, 4.0, 4.0], [float("nan"), 0, 1, 1]]), labels=torch.tensor([2, 3])),
        InstanceData(bboxes=torch.zeros(0, 4), labels=torch.zeros(0, dtype=torch.long)),
        InstanceData(bboxes=torch.tensor([[1.0, 1.0, 1.0, 5.0]]), labels=torch.tensor([1])),
    ]
    truths = GroundTruths.of(instances, torch.device("cpu"))
    assert truths.counts == (2, 0, 1) and len(truths) == 3
    assert truths.image.tolist() == [0, 0, 2]
    assert truths.labels.tolist() == [2, 3, 1]
    assert truths.empty.tolist() == [False, True, True]
    assert truths.boxes.isfinite().all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_zeros_are_zero_and_writable(dtype: torch.dtype) -> None:
    memory = zeros((3, 5, 7), dtype, torch.device("cpu"))
    assert memory.dtype == dtype and memory.shape == (3, 5, 7) and not memory.any()
    memory += 1
    assert (memory == 1).all()
