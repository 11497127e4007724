"""The whole head returns finite numbers or raises a clear error for extreme inputs."""

from __future__ import annotations

import functools
from contextlib import ExitStack
from functools import partialmethod

import pytest
import torch
from cases import SCOPE, our_head
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mmengine.structures import InstanceData
from torch import Tensor

from gfl_plugin.assigners import ATSSAssignment
from gfl_plugin.ops.backend import use_backend

pytestmark = pytest.mark.once

CASES = 250
STRIDES, CLASSES, BINS = (8, 16, 32), 7, 17
LARGEST = float(torch.finfo(torch.bfloat16).max)  # the largest number of bf16
LOGITS = (0.0, 1.0, -4.6, 20.0, -20.0, 88.0, -104.0, 1e4, -1e4, 1e30, -1e30, LARGEST, -LARGEST)
COORDINATES = (0.0, 1e-30, 0.5, 7.99, 8.0, 63.9, 64.0, 1e4, -1e4, 1e20, -3.4e38, 3.4e38, float("nan"), float("inf"))


@functools.lru_cache(maxsize=8)
def head(ignoring: bool, min_positives: int):
    assigner = dict(type=SCOPE + "ATSSAssigner", ignore_iof_thr=0.5 if ignoring else -1, min_positives=min_positives)
    return our_head(train_cfg=dict(assigner=assigner))


@st.composite
def maps(draw, channels: int, images: int, sizes: list[tuple[int, int]], values: tuple[float, ...]) -> list[Tensor]:
    """One map per level in a random memory layout: noise, a constant, or noise with a few other values."""
    seed, kind = draw(st.integers(0, 2**16)), draw(st.sampled_from(["noise", "constant", "spiked"]))
    layout = draw(st.sampled_from(["contiguous", "channels_last", "sliced"]))
    dtype = draw(st.sampled_from([torch.float32, torch.bfloat16, torch.float16]))
    random = torch.Generator().manual_seed(seed)
    levels = []
    for height, width in sizes:
        level = torch.randn(images, channels, height, width, generator=random)
        if kind == "constant":
            level = torch.full_like(level, draw(st.sampled_from(values)))
        elif kind == "spiked":
            index = torch.randint(0, max(1, level.numel()), (min(4, level.numel()),), generator=random)
            level.view(-1)[index] = draw(st.sampled_from(values))
        level = level.clamp(torch.finfo(dtype).min, torch.finfo(dtype).max).to(dtype)
        if layout == "channels_last":
            level = level.to(memory_format=torch.channels_last)
        elif layout == "sliced":
            level = torch.cat([level, level], dim=3)[..., :width]
        levels.append(level.requires_grad_())
    return levels


@st.composite
def boxes(draw) -> Tensor:
    kind = draw(st.sampled_from(["none", "usual", "same", "limits"]))
    if kind == "none":
        return torch.zeros(0, 4)
    if kind == "same":
        return torch.tensor([[9.0, 11.0, 41.0, 37.0]]).repeat(draw(st.sampled_from([2, 50, 3000])), 1)
    if kind == "limits":
        numbers = st.lists(st.sampled_from(COORDINATES), min_size=4, max_size=4)
        return torch.tensor(draw(st.lists(numbers, min_size=1, max_size=4)))
    random = torch.Generator().manual_seed(draw(st.integers(0, 2**16)))
    corner = torch.rand(draw(st.integers(1, 9)), 2, generator=random) * 60
    return torch.cat([corner, corner + torch.rand(len(corner), 2, generator=random) * 60], dim=1)


@st.composite
def batches(draw) -> tuple:
    images = draw(st.sampled_from([0, 1, 1, 2, 2, 3, 3]))
    height, width = draw(st.sampled_from([(64, 64), (40, 72), (8, 8), (96, 33)]))
    sizes = [(-(-height // stride), -(-width // stride)) for stride in STRIDES]
    for level in draw(st.sampled_from([(), (), (), (0,), (1,), (2,), (0, 2)])):
        sizes[level] = draw(st.sampled_from([(0, 0), (sizes[level][0], 0), (0, sizes[level][1])]))
    cls_scores = draw(maps(CLASSES, images, sizes, LOGITS))
    bbox_preds = draw(maps(4 * BINS, images, sizes, LOGITS))
    truths, ignored, metas = [], [], []
    for _ in range(images):
        own = draw(boxes())
        truths.append(InstanceData(bboxes=own, labels=torch.arange(len(own)) % CLASSES))
        ignored.append(InstanceData(bboxes=draw(boxes())[:3]))
        shape = (height, width) if draw(st.booleans()) else (max(1, height // 2), max(1, width // 3))
        metas.append(dict(img_shape=shape, pad_shape=shape, scale_factor=(1.0, 1.0)))
    return cls_scores, bbox_preds, truths, metas, ignored if draw(st.booleans()) else None


@settings(max_examples=CASES, suppress_health_check=list(HealthCheck))
@given(batches(), st.booleans(), st.sampled_from([0, 1, 3]))
def test_losses_gradients_and_detections_are_finite(batch: tuple, compiled: bool, min_positives: int) -> None:
    with ExitStack() as stack:
        if not compiled:  # as on a GPU: PyTorch operations, one row per candidate
            stack.enter_context(use_backend("torch"))
            patch = stack.enter_context(pytest.MonkeyPatch.context())
            patch.setattr(ATSSAssignment, "positives", partialmethod(ATSSAssignment.positives, compact=False))
        assert_finite_or_refused(batch, min_positives)


def assert_finite_or_refused(batch: tuple, min_positives: int) -> None:
    cls_scores, bbox_preds, truths, metas, ignored = batch
    model = head(ignored is not None, min_positives)
    if not metas:
        with pytest.raises(ValueError, match="no image"):
            model.loss_by_feat(cls_scores, bbox_preds, truths, metas, ignored)
        assert model.predict_by_feat(cls_scores, bbox_preds, batch_img_metas=metas) == []
        return
    losses = model.loss_by_feat(cls_scores, bbox_preds, truths, metas, ignored)
    values = torch.stack([level for levels in losses.values() for level in levels])
    assert values.dtype == torch.float32
    assert not values.isnan().any()
    extreme = any(bool((level.detach().abs() > 1e30).any()) for level in (*cls_scores, *bbox_preds))
    assert extreme or values.isfinite().all()
    values.sum().backward()
    for level in (*cls_scores, *bbox_preds):
        assert level.grad is None or level.grad.isfinite().all()
        assert level.grad is None or level.grad.dtype == level.dtype
    found = model.predict_by_feat(cls_scores, bbox_preds, batch_img_metas=metas)
    assert len(found) == len(metas)
    for one, meta in zip(found, metas):
        assert len(one) <= 100
        assert one.bboxes.isfinite().all()
        assert ((one.scores > 0.05) & (one.scores <= 1)).all()
        limit = torch.tensor(meta["img_shape"][::-1]).repeat(2)
        assert ((one.bboxes >= 0) & (one.bboxes <= limit)).all()
