"""ATSS on lists of priors equals MMDetection's; hooks can read and change the assignment."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from cases import Recipe, build_head, head_config, losses_and_gradients, our_head, random_batch, without_ties
from hypothesis import given, settings
from hypothesis import strategies as st
from mmdet.models.task_modules.assigners import ATSSAssigner as MMDetATSSAssigner
from mmengine.structures import InstanceData

from gfl_plugin.assigners import Assignment, ATSSAssigner
from gfl_plugin.registry import TASK_UTILS


@settings(max_examples=80)
@given(
    seed=st.integers(0, 2**31),
    objects=st.integers(0, 60),
    topk=st.sampled_from([1, 9, 50]),
    ignored=st.integers(0, 3),
    threshold=st.sampled_from([-1, 0.4]),
)
def test_assign_equals_mmdetection(seed: int, objects: int, topk: int, ignored: int, threshold: float) -> None:
    """Indices, overlaps and labels are equal for a subset of the priors, as MMDetection's heads pass it."""
    head = build_head(head_config(train_cfg=dict(assigner=dict(topk=topk, ignore_iof_thr=threshold))))
    recipe = Recipe(seed=seed, images=1, objects=(objects,), ignored=(ignored,), height=100, width=130)
    batch = without_ties(random_batch(recipe), head)
    sizes = [level.shape[-2:] for level in batch.cls_scores]
    priors = head.prior_generator.grid_priors(sizes, device="cpu")
    instances = InstanceData(priors=torch.cat(priors))
    arguments = (instances, [len(level) for level in priors], batch.gt_instances[0], batch.gt_instances_ignore[0])
    expected = MMDetATSSAssigner(topk, ignore_iof_thr=threshold).assign(*arguments)
    found = ATSSAssigner(topk, ignore_iof_thr=threshold).assign(*arguments)
    assert found.num_gts == expected.num_gts
    assert torch.equal(found.gt_inds, expected.gt_inds)
    assert torch.equal(found.labels, expected.labels)
    assert torch.equal(found.max_overlaps, expected.max_overlaps)


def test_in_mmdetections_atss_head() -> None:
    """ATSSHead's losses are the same with either assigner."""
    config = dict(
        type="ATSSHead",
        loss_cls=dict(type="FocalLoss", use_sigmoid=True, gamma=2.0, alpha=0.25),
        loss_centerness=dict(type="CrossEntropyLoss", use_sigmoid=True),
        bbox_coder=dict(type="DeltaXYWHBBoxCoder", target_stds=[0.1, 0.1, 0.2, 0.2]),
        loss_dfl=None,
    )
    stock = build_head(_flat(head_config(**config)))
    swapped = build_head(_flat(head_config(**config, train_cfg=dict(assigner=dict(type="gfl_plugin.ATSSAssigner")))))
    assert type(swapped.assigner) is ATSSAssigner
    swapped.load_state_dict(stock.state_dict())
    batch = without_ties(random_batch(Recipe()), stock)
    boxes = [level[:, :4] for level in batch.bbox_preds]
    centerness = [level[:, :1] for level in batch.bbox_preds]
    results = [
        head.loss_by_feat(batch.cls_scores, boxes, centerness, batch.gt_instances, batch.img_metas)
        for head in (stock, swapped)
    ]
    for name in results[0]:
        assert all(
            torch.equal(torch.as_tensor(a), torch.as_tensor(b)) for a, b in zip(results[0][name], results[1][name])
        )


def _flat(config: dict) -> dict:
    config["loss_cls"].pop("beta", None)
    return config


COUNTS = [64, 16, 4]


def predictions_of_three_levels() -> InstanceData:
    """Priors of 64 x 64 pixels, with the boxes and class logits that a network predicts there."""
    generator = build_head(head_config()).prior_generator
    priors = torch.cat(generator.grid_priors([(8, 8), (4, 4), (2, 2)], device="cpu"))
    return InstanceData(priors=priors, bboxes=priors + torch.randn_like(priors), scores=torch.randn(len(priors), 7))


@settings(max_examples=40)
@given(seed=st.integers(0, 2**31), objects=st.integers(0, 20), alpha=st.sampled_from([0.0, 0.5, 0.8, 1.0]))
def test_assign_with_ddods_cost_equals_mmdetection(seed: int, objects: int, alpha: float) -> None:
    """Indices, costs and labels."""
    torch.manual_seed(seed)
    predictions = predictions_of_three_levels()
    boxes = (64 * torch.rand(objects, 2, 2)).sort(dim=1).values.flatten(1)
    truth = InstanceData(bboxes=boxes, labels=torch.randint(0, 7, (objects,)))
    ours, theirs = (
        kind(9, alpha=alpha).assign(predictions, COUNTS, truth) for kind in (ATSSAssigner, MMDetATSSAssigner)
    )
    assert torch.equal(ours.gt_inds, theirs.gt_inds) and torch.equal(ours.labels, theirs.labels)
    torch.testing.assert_close(ours.max_overlaps, theirs.max_overlaps, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("alpha", [None, 0.8])
def test_assign_follows_the_hooks_and_the_minimum(alpha: float | None) -> None:
    """An object between all centers of priors gets its two best ones, and a hook sees the assignment."""
    seen: list[Assignment] = []
    predictions = predictions_of_three_levels()
    truth = InstanceData(bboxes=torch.tensor([[17.0, 17.0, 21.0, 21.0]]), labels=torch.tensor([2]))
    found = [
        int((ATSSAssigner(9, alpha=alpha, **more).assign(predictions, COUNTS, truth).gt_inds == 1).sum())
        for more in ({}, dict(min_positives=2), dict(hooks=[seen.append]))
    ]
    assert found == [0, 2, 0] and len(seen) == 1


def test_assign_with_ddods_cost_needs_predictions() -> None:
    truth = InstanceData(bboxes=torch.tensor([[5.0, 6.0, 40.0, 50.0]]), labels=torch.tensor([2]))
    only_priors = InstanceData(priors=predictions_of_three_levels().priors)
    with pytest.raises(ValueError, match="alpha is 0.8, .* the head gives its assigner none; leave alpha out"):
        ATSSAssigner(9, alpha=0.8).assign(only_priors, COUNTS, truth)


def test_definition_of_the_threshold() -> None:
    """It is the mean plus the unbiased standard deviation over all candidates; equal IoUs reach it exactly."""
    seen: list[Assignment] = []
    head = our_head()
    head.assigner.hooks.append(seen.append)
    head.loss_by_feat(*random_batch(Recipe(objects=(20, 30))).arguments())
    (assignment,) = seen
    for number in range(len(assignment.truths)):
        iou = assignment.candidates.iou[number][assignment.candidates.valid[number]].double()
        assert float(assignment.threshold[number]) == pytest.approx(float(iou.mean() + iou.std()), rel=1e-12)
    flat = replace(assignment.candidates, iou=torch.full_like(assignment.candidates.iou, 0.1234567))
    assert (flat.iou.double() >= flat.threshold()[:, None]).all()


def test_a_prior_selected_for_two_objects_goes_to_the_one_it_overlaps_most() -> None:
    boxes = torch.tensor([[20.0, 20.0, 90.0, 90.0], [22.0, 22.0, 90.0, 90.0], [20.0, 20.0, 90.0, 90.0]])
    seen: list[Assignment] = []
    head = our_head()
    head.assigner.hooks.append(seen.append)
    batch = random_batch(Recipe(images=1, objects=(0,)))
    batch.gt_instances = [InstanceData(bboxes=boxes, labels=torch.tensor([0, 1, 2]))]
    head.loss_by_feat(*batch.arguments())
    (assignment,) = seen
    priors, positive = assignment.candidates.prior, assignment.positive
    assert positive.any()
    for prior in priors[assignment.selected].unique().tolist():
        claims = [
            (float(assignment.candidates.iou[o, s]), -o)
            for o, s in ((priors == prior) & assignment.selected).nonzero().tolist()
        ]
        owners = ((priors == prior) & positive).any(dim=1).nonzero().squeeze(1).tolist()
        assert owners == [-max(claims)[1]]  # of equal IoUs, the first object
    assert not positive[2].any()


@TASK_UTILS.register_module()
class EasierThreshold:
    """A user's hook that lowers every object's threshold."""

    def __init__(self, by: float) -> None:
        self.by = by

    def __call__(self, assignment: Assignment) -> Assignment:
        return assignment.with_threshold(assignment.threshold - self.by)


def test_hooks_named_in_the_config_adjust_the_result() -> None:
    plain = our_head()
    easier = our_head(train_cfg=dict(assigner=dict(hooks=[dict(type="EasierThreshold", by=0.2)])))
    counts = []
    for head in (plain, easier):
        head.assigner.hooks.append(lambda assignment: counts.append(int(assignment.positive.sum())))
        losses_and_gradients(head, random_batch(Recipe(objects=(10, 10))))
    assert counts[1] > counts[0]


def test_hook_mistakes() -> None:
    with pytest.raises(ValueError, match="cannot be called; it must take an ATSSAssignment"):
        ATSSAssigner(9, hooks=[3])
    head = our_head()
    head.assigner.hooks.append(lambda assignment: 5)
    with pytest.raises(ValueError, match="returned a int; return an ATSSAssignment, or None"):
        head.loss_by_feat(*random_batch(Recipe()).arguments())
