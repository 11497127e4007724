"""NMS of each backend equals its definition, computed pair by pair."""

from __future__ import annotations

import tracemalloc

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import gfl_plugin.ops.nms as module
from gfl_plugin.ops.backend import installed, use_backend
from gfl_plugin.ops.nms import nms

BACKENDS = ["torch", "numba"] if installed("numba") else ["torch"]


def by_definition(
    boxes: Tensor, scores: Tensor, threshold: float, offset: int, groups: Tensor, limit: int | None
) -> list[int]:
    kept: list[int] = []
    sides = boxes[:, 2:] - boxes[:, :2] + offset
    order = scores.sort(descending=True, stable=True).indices
    for index in order[groups[order].sort(stable=True).indices].tolist():
        own = [other for other in kept if groups[other] == groups[index]]
        if len(own) == limit:
            continue
        for other in own:
            low = torch.maximum(boxes[index, :2], boxes[other, :2])
            high = torch.minimum(boxes[index, 2:], boxes[other, 2:])
            overlap = (high - low + offset).clamp(min=0).prod()
            union = sides[index].prod() + sides[other].prod() - overlap
            if overlap / union > threshold:
                break
        else:
            kept.append(index)
    return kept


@pytest.mark.parametrize("backend", BACKENDS)
@settings(max_examples=60)
@given(
    seed=st.integers(0, 2**31),
    count=st.integers(0, 60),
    spread=st.sampled_from([10.0, 60.0, 500.0]),
    threshold=st.sampled_from([0.0, 0.3, 0.5, 0.9, 1.0]),
    offset=st.integers(0, 1),
    groups=st.integers(1, 4),
    limit=st.sampled_from([None, 1, 2, 7, 100]),
    block=st.sampled_from([2, 7, 512]),
)
def test_definition(
    backend: str,
    seed: int,
    count: int,
    spread: float,
    threshold: float,
    offset: int,
    groups: int,
    limit: int | None,
    block: int,
) -> None:
    torch.manual_seed(seed)
    corner = (spread * torch.rand(count, 2)).round()
    boxes = torch.cat([corner, corner + (30 * torch.rand(count, 2)).round()], dim=1)  # some are empty, some are equal
    scores = (20 * torch.rand(count)).round() / 20
    group = torch.randint(0, groups, (count,))
    with use_backend(backend), pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_BLOCK", block)
        patch.setattr(module, "_LATER", 3 * block)
        kept = nms(boxes, scores, threshold, offset, group, limit)
        assert kept.tolist() == by_definition(boxes, scores, threshold, offset, group, limit)
        alone = nms(boxes, scores, threshold, offset, limit=limit)
        assert alone.tolist() == by_definition(boxes, scores, threshold, offset, torch.zeros(count), limit)


@pytest.mark.parametrize("backend", BACKENDS)
def test_boxes_and_scores_with_a_gradient(backend: str) -> None:
    """They keep the same boxes."""
    corner, scores = 50 * torch.rand(40, 2), torch.rand(40)
    boxes = torch.cat([corner, corner + 20], dim=1)
    with use_backend(backend):
        expected = nms(boxes, scores, 0.5)
        assert 0 < len(expected) < 40
        assert torch.equal(nms(boxes.requires_grad_(), scores.requires_grad_(), 0.5), expected)


@pytest.mark.parametrize("backend", BACKENDS)
def test_fifty_thousand_boxes_need_no_square_matrix(backend: str) -> None:
    """The largest allocation is below 40 MB; an N x N matrix of booleans would be 2.5 GB."""
    largest = 0
    empty = torch.overrides.TorchFunctionMode

    class Watch(empty):
        def __torch_function__(self, function, types, args=(), kwargs=None):
            nonlocal largest
            result = function(*args, **(kwargs or {}))
            if isinstance(result, Tensor):
                largest = max(largest, result.numel() * result.element_size())
            return result

    corner = 300 * torch.rand(50_000, 2)
    boxes = torch.cat([corner, corner + 40 + 40 * torch.rand(50_000, 2)], dim=1)
    tracemalloc.start()  # NumPy's memory
    with Watch(), use_backend(backend):
        kept = nms(boxes, torch.rand(50_000), 0.5)
    largest = max(largest, tracemalloc.get_traced_memory()[1])
    tracemalloc.stop()
    assert 100 < len(kept) < 10_000
    assert largest < 40e6
