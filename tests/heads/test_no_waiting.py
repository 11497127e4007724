"""A training step never synchronizes with a GPU; most of it is tested without a GPU."""

from __future__ import annotations

import contextlib
from unittest import mock

import pytest
import torch
from cases import (
    Batch,
    Recipe,
    build_head,
    gradient_difference,
    head_config,
    losses_and_gradients,
    our_head,
    random_batch,
)
from mmengine.structures import InstanceData
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

BINS = dict(bbox_coder=dict(type="gfl_plugin.IntegralBBoxCoder", bins=dict(spacing="geometric", last=64)))
HEAD = dict(train_cfg=dict(assigner=dict(ignore_iof_thr=0.3), allowed_border=0, pos_weight=2.0))
CASES = [
    pytest.param(Recipe(images=3, objects=(4, 9, 0)), {}, id="padded"),
    pytest.param(Recipe(images=2, objects=(5, 3), same_size=True), {}, id="one size"),
    pytest.param(Recipe(images=2, objects=(5, 3), ignored=(3, 0)), HEAD, id="ignored, border, weights"),
    pytest.param(
        Recipe(images=2, objects=(9, 3)), dict(train_cfg=dict(assigner=dict(min_positives=2))), id="min_positives"
    ),
    pytest.param(Recipe(images=2, objects=(5, 3)), BINS, id="geometric bins"),
]


class Waits(TorchDispatchMode):
    """Records operations that need values or shapes on the host, and copies that synchronize."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func._overloadpacket._qualified_op_name
        result = func(*args, **(kwargs or {}))
        if name in ("aten::_local_scalar_dense", "aten::nonzero", "aten::masked_select", "aten::equal"):
            self.found.append(name)
        masks = args[1] if name in ("aten::index", "aten::index_put", "aten::index_put_") else ()
        if any(isinstance(index, Tensor) and index.dtype == torch.bool for index in masks):
            self.found.append(f"{name} by a mask")
        if name in ("aten::_to_copy", "aten::copy_"):
            devices = {part.device for part in (*args, result) if isinstance(part, Tensor)}
            if len(devices) > 1 and not (kwargs or {}).get("non_blocking", name == "aten::copy_" and args[-1] is True):
                self.found.append(name)
        return result


def moved(batch: Batch, device: str) -> Batch:
    """The batch with its tensors on a device, as leaves."""

    def truths(instances: list | None) -> list | None:
        if instances is None:
            return None
        return [InstanceData(**{name: own[name].to(device) for name in own.keys()}) for own in instances]  # noqa: SIM118

    return Batch(
        [level.to(device).requires_grad_() for level in batch.cls_scores],
        [level.to(device).requires_grad_() for level in batch.bbox_preds],
        truths(batch.gt_instances),
        batch.img_metas,
        truths(batch.gt_instances_ignore),
    )


@pytest.mark.parametrize(("recipe", "changes"), CASES)
def test_no_operation_needs_a_value(recipe: Recipe, changes: dict) -> None:
    """On tensors without values ("meta"), operations that would synchronize raise an error or are recorded."""
    head, batch = our_head(**changes), moved(random_batch(recipe), "meta")
    assert waits_in_a_step(head, batch, batch.arguments()) == []


def test_distillation_needs_no_value() -> None:
    head, batch = build_head(head_config(type="gfl_plugin.LDHead")), moved(random_batch(Recipe()), "meta")
    teacher = moved(random_batch(Recipe(seed=1)), "meta")
    arguments = (batch.cls_scores, batch.bbox_preds, batch.gt_instances, batch.img_metas, teacher.bbox_preds)
    assert waits_in_a_step(head, batch, arguments) == []
    assert all(level.grad is None for level in teacher.bbox_preds)


def waits_in_a_step(head: torch.nn.Module, batch: Batch, arguments: tuple) -> list[str]:
    """Operations that synchronize in losses and gradients, on tensors without values."""
    with (
        # Autocast does not support "meta".
        mock.patch.object(torch, "autocast", lambda *args, **kwargs: contextlib.nullcontext()),
        Waits() as waits,
    ):
        losses = head.loss_by_feat(*arguments)
        sum(sum(levels) for levels in losses.values()).backward()
    assert all(level.grad.shape == level.shape for level in (*batch.cls_scores, *batch.bbox_preds))
    return waits.found


def test_gflv2s_quality_needs_no_value() -> None:
    """The same for the joint logits, which belong to the layers."""
    head, batch = (
        our_head(quality=dict(type="DistributionGuidedQuality")).to("meta"),
        moved(random_batch(Recipe()), "meta"),
    )
    with (
        mock.patch.object(torch, "autocast", lambda *args, **kwargs: contextlib.nullcontext()),
        Waits() as waits,
    ):
        joint = [head.quality.outputs(a, None, b)[0] for a, b in zip(batch.cls_scores, batch.bbox_preds)]
        sum(level.sum() for level in joint).backward()
    assert waits.found == []
    assert all(level.grad.shape == level.shape for level in (*batch.cls_scores, *batch.bbox_preds))


def test_operations_that_synchronize_are_recorded() -> None:
    values, mask = torch.arange(4.0), torch.tensor([True, False, True, False])
    with Waits() as waits:
        values[mask]
        values.nonzero()
        values.sum().item()
        values.to("meta")
        values.to("meta", non_blocking=True)
    assert waits.found == ["aten::index by a mask", "aten::nonzero", "aten::_local_scalar_dense", "aten::_to_copy"]


needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")


@needs_gpu
@pytest.mark.parametrize(("recipe", "changes"), CASES)
def test_no_synchronization_on_a_gpu(recipe: Recipe, changes: dict) -> None:
    head = our_head(**changes).cuda()
    for mode in ("default", "error"):  # kernels are compiled and constants made in the first step
        batch = moved(random_batch(recipe), "cuda")
        torch.cuda.synchronize()
        torch.cuda.set_sync_debug_mode(mode)
        try:
            losses = head.loss_by_feat(*batch.arguments())
            sum(sum(levels) for levels in losses.values()).backward()
        finally:
            torch.cuda.set_sync_debug_mode("default")


@needs_gpu
@pytest.mark.parametrize(("recipe", "changes"), CASES)
def test_losses_and_gradients_on_a_gpu_equal_those_on_a_cpu(recipe: Recipe, changes: dict) -> None:
    batch = random_batch(recipe)
    expected = losses_and_gradients(our_head(**changes), batch)
    found = losses_and_gradients(our_head(**changes).cuda(), moved(batch, "cuda"))
    for name, levels in expected[0].items():
        assert found[0][name] == pytest.approx(levels, rel=1e-5, abs=1e-7)
    for theirs, ours in zip(expected[1:], found[1:]):
        assert gradient_difference(theirs, [level.cpu() for level in ours]) <= 1e-6
