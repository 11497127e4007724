"""Constant tensors are created once, and can be used for training."""

from __future__ import annotations

import torch
from cases import Recipe, our_head, random_batch
from torch import Tensor

from gfl_plugin.ops.tensor_cache import cached


def test_a_tensor_is_created_once_per_argument() -> None:
    made = []

    @cached(maxsize=2)
    def constant(size: int) -> Tensor:
        made.append(size)
        return torch.arange(size)

    assert constant(3) is constant(3) and constant(2).tolist() == [0, 1]
    assert made == [3, 2]


def test_a_tensor_created_in_inference_mode_can_be_used_for_training() -> None:
    @cached(maxsize=1)
    def factor() -> Tensor:
        return torch.full((2,), 2.0)

    weight = torch.ones(2, requires_grad=True)
    with torch.inference_mode():
        factor()
    (weight * factor()).sum().backward()
    assert weight.grad.tolist() == [2.0, 2.0]


def test_a_head_trains_after_it_has_predicted_in_inference_mode() -> None:
    head, batch = our_head(), random_batch(Recipe())
    maps = [level.detach().requires_grad_() for level in (*batch.cls_scores, *batch.bbox_preds)]
    scores, boxes = maps[: len(batch.cls_scores)], maps[len(batch.cls_scores) :]
    with torch.inference_mode():
        head.predict_by_feat(scores, boxes, batch_img_metas=batch.img_metas)
    losses = head.loss_by_feat(scores, boxes, batch.gt_instances, batch.img_metas)
    sum(sum(levels) for levels in losses.values()).backward()
    assert all(level.grad is not None for level in maps)


def test_a_traced_tensor_is_not_cached() -> None:
    @cached(maxsize=1)
    def factor() -> Tensor:
        return torch.full((2,), 2.0)

    class Model(torch.nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x * factor()

    torch.export.export(Model(), (torch.ones(2),), strict=False)
    assert type(factor()) is Tensor and factor().tolist() == [2.0, 2.0]
