"""NMS of each backend against the definition, pair by pair."""

from __future__ import annotations

import tracemalloc

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import gfl_plugin.ops.nms as module
from gfl_plugin.heads.prediction import survivors
from gfl_plugin.ops.backend import installed, use_backend
from gfl_plugin.ops.nms import nms

BACKENDS = ["torch", "numba"] if installed("numba") else ["torch"]


def by_definition(boxes: Tensor, scores: Tensor, threshold: float, offset: int, groups: Tensor) -> list[int]:
    kept: list[int] = []
    sides = boxes[:, 2:] - boxes[:, :2] + offset
    for index in scores.sort(descending=True, stable=True).indices.tolist():
        for other in kept:
            low = torch.maximum(boxes[index, :2], boxes[other, :2])
            high = torch.minimum(boxes[index, 2:], boxes[other, 2:])
            overlap = (high - low + offset).clamp(min=0).prod()
            union = sides[index].prod() + sides[other].prod() - overlap
            if groups[index] == groups[other] and overlap / union > threshold:
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
    block=st.sampled_from([2, 7, 512]),
)
def test_definition(
    backend: str, seed: int, count: int, spread: float, threshold: float, offset: int, groups: int, block: int
) -> None:
    torch.manual_seed(seed)
    corner = (spread * torch.rand(count, 2)).round()
    boxes = torch.cat([corner, corner + (30 * torch.rand(count, 2)).round()], dim=1)  # some empty, some equal
    scores = (20 * torch.rand(count)).round() / 20
    group = torch.randint(0, groups, (count,))
    with use_backend(backend), pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_BLOCK", block)
        patch.setattr(module, "_LATER", 3 * block)
        kept = nms(boxes, scores, threshold, offset, group)
        assert kept.tolist() == by_definition(boxes, scores, threshold, offset, group)
        alone = nms(boxes, scores, threshold, offset)
        assert alone.tolist() == by_definition(boxes, scores, threshold, offset, torch.zeros(count))


@pytest.mark.parametrize("backend", BACKENDS)
def test_fifty_thousand_boxes_need_no_square_matrix(backend: str) -> None:
    """An N x N matrix of booleans would be 2.5 GB; the largest allocation is counted."""
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


@settings(max_examples=60)
@given(
    seed=st.integers(0, 2**31),
    images=st.integers(1, 3),
    classes=st.integers(1, 4),
    sizes=st.lists(st.tuples(st.integers(1, 20), st.integers(1, 20)), min_size=1, max_size=3),
    threshold=st.sampled_from([0.0, 0.05, 0.5, 0.99, 1.0]),
    limit=st.sampled_from([-1, 1, 5]),
)
def test_survivors(
    seed: int, images: int, classes: int, sizes: list[tuple[int, int]], threshold: float, limit: int
) -> None:
    """Those above the threshold, the best of each level and image, whatever the shape's remainder of a block."""
    torch.manual_seed(seed)
    logits = [3 * torch.randn(images, classes, *size) for size in sizes]
    found = survivors(logits, threshold, limit)
    rows = []
    for image in range(images):
        for number, level in enumerate(logits):
            scores = level[image].flatten(1).sigmoid()
            label, location = (scores > threshold).nonzero(as_tuple=True)
            score, order = scores[label, location].sort(descending=True, stable=True)
            order = order[:limit] if limit > 0 else order
            rows += [
                (image, number, int(label[i]), int(location[i]), float(scores[label[i], location[i]])) for i in order
            ]
    columns = (found.image, found.level, found.label, found.location, found.score)
    assert list(zip(*(column.tolist() for column in columns))) == rows
