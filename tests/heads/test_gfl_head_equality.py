"""The head's losses, gradients, assignments and detections equal those of MMDetection 3.3.0."""

from __future__ import annotations

from contextlib import nullcontext
from functools import partialmethod

import pytest
import torch
from cases import (
    Batch,
    Recipe,
    both_heads,
    gradient_difference,
    head_config,
    losses_and_gradients,
    our_head,
    random_batch,
    record,
    without_ties,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from mmengine.structures import InstanceData

from gfl_plugin.assigners import Assignment
from gfl_plugin.ops.backend import use_backend

STRIDES = [(8, 16, 32), (8,), (4, 8), (8, 16, 32, 64, 128), (16, 32, 64), (7, 14)]


@st.composite
def recipes(draw: st.DrawFn) -> tuple[Recipe, dict]:
    """The recipe of a batch, and matching settings of the head."""
    images = draw(st.integers(1, 4))
    strides = draw(st.sampled_from(STRIDES))
    many = draw(st.booleans())
    objects = st.integers(0, 200 if many else 6)
    ignoring = draw(st.booleans())
    recipe = Recipe(
        seed=draw(st.integers(0, 2**31)),
        strides=strides,
        height=draw(st.integers(24, 260)),
        width=draw(st.integers(24, 260)),
        images=images,
        objects=tuple(draw(objects) for _ in range(images)),
        ignored=tuple(draw(st.integers(0, 3)) for _ in range(images)) if ignoring else (),
        classes=draw(st.integers(1, 12)),
        reg_max=draw(st.sampled_from([16, 16, 8, 1])),
        mean=draw(st.sampled_from([-6.0, -2.0, 1.0])),
        same_size=draw(st.booleans()),
    )
    assigner = dict(topk=draw(st.sampled_from([9, 9, 1, 4, 13, 40])))
    if ignoring:
        assigner["ignore_iof_thr"] = draw(st.sampled_from([-1, 0.3, 0.7]))
    changes = dict(
        num_classes=recipe.classes,
        reg_max=recipe.reg_max,
        anchor_generator=dict(strides=list(strides)),
        loss_cls=dict(beta=draw(st.sampled_from([2.0, 2.0, 1.0, 2.5, 0.0]))),
        train_cfg=dict(
            assigner=assigner,
            allowed_border=draw(st.sampled_from([-1, -1, 0, 40])),
            pos_weight=draw(st.sampled_from([-1, -1, 2.5])),
        ),
    )
    if draw(st.booleans()):
        changes["anchor_generator"]["center_offset"] = 0.5
    return recipe, changes


class InDouble(torch.nn.Module):
    """MMDetection's own QFL, computed in fp64.

    In fp32 it computes log(1 - σ) as x - logsigmoid(x), which cancels for low logits: for a batch without positives its
    rounding errors are several 1e-6 of the largest gradient. In fp64 they are negligible.
    """

    def __init__(self, loss: torch.nn.Module) -> None:
        super().__init__()
        self.loss = loss

    def forward(self, pred, target, weight, avg_factor):
        label, score = target
        return self.loss(pred.double(), (label, score.double()), weight.double(), avg_factor=avg_factor)


def compare_losses(theirs, ours, batch: Batch) -> None:
    """Check that losses agree to 1e-5 and gradients to 1e-6 of the largest with MMDetection's QFL in fp64.

    With more than 100 objects in an image the limit of box gradients is 1.5e-6.

    The difference to MMDetection's QFL in fp32 may exceed that limit by MMDetection's own rounding error only.
    """
    found, stock = losses_and_gradients(ours, batch), losses_and_gradients(theirs, batch)
    loss = theirs.loss_cls
    theirs.loss_cls = InDouble(loss)
    exact = losses_and_gradients(theirs, batch)
    theirs.loss_cls = loss
    name = "with positives" if any(stock[0]["loss_bbox"]) else "without positives"
    # In crowded images weights are divided by sums of thousands of terms, which both heads add in another order.
    crowded = max(len(instances) for instances in batch.gt_instances) > 100
    limits = (1e-5, 1e-6, 1.5e-6 if crowded else 1e-6)
    to_exact, to_stock, own = (compare(a, b) for a, b in ((exact, found), (stock, found), (exact, stock)))
    parts = ("losses, relative", "gradients of class logits, of the largest", "gradients of box logits, of the largest")
    for part, limit, difference, as_it_is, rounding in zip(parts, limits, to_exact, to_stock, own):
        assert record(f"its QFL in fp64: {part}", difference) <= limit
        assert record(f"as it is, {name}: {part}", as_it_is) <= limit + 1.1 * rounding


def compare(expected: tuple, found: tuple) -> tuple[float, float, float]:
    """Largest differences of losses, relative to the largest level of each loss, and of both gradients."""
    (their_losses, their_cls, their_box), (our_losses, our_cls, our_box) = expected, found
    assert their_losses.keys() == our_losses.keys()
    loss = 0.0
    for name, values in their_losses.items():
        scale = max(max(abs(value) for value in values), 1e-12)
        loss = max(loss, *(abs(a - b) / scale for a, b in zip(values, our_losses[name])))
    return loss, gradient_difference(their_cls, our_cls), gradient_difference(their_box, our_box)


@settings(max_examples=250)
@given(recipes())
def test_losses_and_gradients_equal(case: tuple[Recipe, dict]) -> None:
    recipe, changes = case
    theirs, ours = both_heads(**changes)
    batch = random_batch(recipe)
    try:
        batch = without_ties(batch, theirs)
        theirs.loss_by_feat(*batch.arguments())
    except (ValueError, RuntimeError) as error:  # an image without a prior
        if "no valid anchor" not in str(error) and "non-empty list" not in str(error):
            raise
        with pytest.raises(ValueError, match="holds no prior"):
            ours.loss_by_feat(*batch.arguments())
        return
    compare_losses(theirs, ours, batch)


@settings(max_examples=100)
@given(recipes())
def test_assignments_identical(case: tuple[Recipe, dict]) -> None:
    """Each location is assigned to the same object, and the same locations are ignored."""
    recipe, changes = case
    changes["train_cfg"].update(allowed_border=-1, pos_weight=-1)
    theirs, ours = both_heads(**changes)
    batch = without_ties(random_batch(recipe), theirs)
    sizes = [level.shape[-2:] for level in batch.cls_scores]
    anchors, flags = theirs.get_anchors(sizes, batch.img_metas, device="cpu")
    _, labels, label_weights, box_targets, _, count = theirs.get_targets(
        anchors, flags, batch.gt_instances, batch.img_metas, batch.gt_instances_ignore
    )
    from gfl_plugin.heads.location_weights import location_weights
    from gfl_plugin.structures.grid import Grid
    from gfl_plugin.structures.ground_truths import GroundTruths
    from gfl_plugin.structures.valid_regions import ValidRegions

    device = torch.device("cpu")
    grid = Grid.of(ours.layout, sizes, device)
    regions = ValidRegions.of(grid, batch.img_metas)
    truths = GroundTruths.of(batch.gt_instances, device)
    ignored = None
    if batch.gt_instances_ignore:
        ignored = ours.assigner.ignored_locations(GroundTruths.of(batch.gt_instances_ignore, device), truths, grid)
    positives = ours.assigner.select(truths, grid, regions, ignored).positives(grid)
    weights = location_weights(grid, regions, ignored, positives, 2.0)  # 2 marks positives
    for level, (height, width) in enumerate(sizes):
        rows = [positives.per_level(part)[level] for part in (positives.image, positives.location, positives.gt_index)]
        our_labels = torch.full((recipe.images, height * width), recipe.classes)
        our_labels[rows[0], rows[1]] = truths.labels[rows[2]]
        assert torch.equal(our_labels, labels[level])
        our_boxes = torch.zeros(recipe.images, height * width, 4)
        our_boxes[rows[0], rows[1]] = truths.boxes[rows[2]]
        assert torch.equal(our_boxes, box_targets[level])
        assert torch.equal(weights[level].flatten(1).clamp(max=1), label_weights[level])
    per_image = torch.bincount(positives.image, minlength=recipe.images).clamp(min=1)
    assert int(per_image.sum()) == int(count)


def with_distinct_scores(batch: Batch) -> Batch:
    """The batch with class logits spread evenly over [-8, 4] and shuffled.

    Random logits sometimes have equal scores, which MMDetection sorts in an undefined order (its sort is not stable).
    """
    for image in range(len(batch.img_metas)):
        count = sum(level[image].numel() for level in batch.cls_scores)
        values = torch.linspace(-8.0, 4.0, count)[torch.randperm(count)]
        for level, part in zip(batch.cls_scores, values.split([level[image].numel() for level in batch.cls_scores])):
            level[image] = part.view_as(level[image])
    return batch


@settings(max_examples=60)
@given(recipes(), st.booleans(), st.sampled_from([0.05, 0.3, 0.0]), st.sampled_from([1000, 20]))
def test_detections_identical(case: tuple[Recipe, dict], rescale: bool, threshold: float, limit: int) -> None:
    recipe, changes = case
    theirs, ours = both_heads(**changes, test_cfg=dict(score_thr=threshold, nms_pre=limit))
    batch = with_distinct_scores(random_batch(recipe))
    results = [
        head.predict_by_feat(batch.cls_scores, batch.bbox_preds, batch_img_metas=batch.img_metas, rescale=rescale)
        for head in (theirs, ours)
    ]
    for expected, found in zip(*results):
        assert len(expected) == len(found)
        assert torch.equal(expected.labels, found.labels)
        if len(expected):
            assert record("detections' boxes, px", (expected.bboxes - found.bboxes).abs().max()) <= 1e-3
            assert record("detections' scores", (expected.scores - found.scores).abs().max()) <= 1e-6
            assert (found.scores.diff() <= 0).all()


@pytest.mark.parametrize(
    "test_cfg",
    [
        dict(min_bbox_size=40),
        dict(nms=dict(type="nms", iou_threshold=0.3, class_agnostic=True)),
        dict(nms=dict(type="nms", iou_threshold=0.3, split_thr=10)),
        dict(nms=dict(type="nms", iou_threshold=0.0)),
        dict(nms=dict(type="nms", iou_threshold=0.6, max_num=7)),
        dict(nms=dict(type="soft_nms", iou_threshold=0.5), nms_pre=30),
        dict(max_per_img=3),
        dict(score_thr=1.0),
        dict(score_thr=0.9999, max_per_img=5),
    ],
    ids=str,
)
def test_other_test_settings(test_cfg: dict) -> None:
    """Detections are equal for all settings of test_cfg, with the NMS of this package and with mmcv's."""
    theirs, ours = both_heads(test_cfg={"nms_pre": 100, **test_cfg})
    for clipped in (True, False):
        theirs.bbox_coder.clip_border = ours.bbox_coder.clip_border = clipped  # False gives coordinates below 0
        batch = with_distinct_scores(random_batch(Recipe()))
        arguments = dict(batch_img_metas=batch.img_metas, rescale=True)
        results = [head.predict_by_feat(batch.cls_scores, batch.bbox_preds, **arguments) for head in (theirs, ours)]
        for expected, found in zip(*results):
            assert torch.equal(expected.labels, found.labels)
            assert torch.allclose(expected.bboxes, found.bboxes, rtol=0, atol=1e-3)
            assert torch.allclose(expected.scores, found.scores, rtol=0, atol=1e-6)


def test_without_nms_all_candidates_are_returned() -> None:
    theirs, ours = both_heads()
    batch = random_batch(Recipe())
    for expected, found in zip(
        *(
            head.predict_by_feat(batch.cls_scores, batch.bbox_preds, batch_img_metas=batch.img_metas, with_nms=False)
            for head in (theirs, ours)
        )
    ):
        assert torch.equal(expected.labels, found.labels)
        assert torch.allclose(expected.bboxes, found.bboxes, atol=1e-3)


def test_forward_is_the_same_layers() -> None:
    theirs, ours = both_heads()
    features = tuple(torch.randn(2, 8, size, size) for size in (16, 8, 4))
    for expected, found in zip(theirs(features), ours(features)):
        assert all(torch.equal(a, b) for a, b in zip(expected, found))


def test_state_dict_loads_strictly_both_ways() -> None:
    theirs, ours = both_heads()
    assert list(theirs.state_dict()) == list(ours.state_dict())
    theirs.load_state_dict(ours.state_dict(), strict=True)


def test_order_of_objects_does_not_matter() -> None:
    head = our_head()
    batch = without_ties(random_batch(Recipe(objects=(40, 60))), head)
    shuffled = Batch(
        batch.cls_scores,
        batch.bbox_preds,
        [truth[torch.randperm(len(truth))] for truth in batch.gt_instances],
        batch.img_metas,
    )
    values, cls_gradients, box_gradients = losses_and_gradients(head, batch)
    again, cls_again, box_again = losses_and_gradients(head, shuffled)
    for name in values:
        assert values[name] == pytest.approx(again[name], rel=1e-6)
    assert gradient_difference(cls_gradients, cls_again) < 1e-6
    assert gradient_difference(box_gradients, box_again) < 1e-6


@pytest.mark.parametrize("objects", [(0, 0), (0, 5)])
def test_images_without_objects(objects: tuple[int, int]) -> None:
    theirs, ours = both_heads()
    batch = without_ties(random_batch(Recipe(objects=objects)), theirs)
    compare_losses(theirs, ours, batch)
    for level in losses_and_gradients(ours, batch)[2]:
        assert level is not None and level.isfinite().all()


def test_ignored_regions_in_some_images_only() -> None:
    """Losses equal MMDetection's, which passes None for an image without ignored regions."""
    theirs, ours = both_heads(train_cfg=dict(assigner=dict(ignore_iof_thr=0.4)))
    batch = without_ties(random_batch(Recipe(objects=(5, 5), ignored=(2, 0))), theirs)
    batch.gt_instances_ignore[1] = None
    compare_losses(theirs, ours, batch)


@pytest.mark.parametrize("ignored", [(), (2, 1)])
def test_one_row_per_candidate_gives_the_same_losses(monkeypatch, ignored: tuple[int, ...]) -> None:
    """Positives as on a GPU, where most rows are inactive, give the same losses and gradients."""
    head = our_head(train_cfg=dict(assigner=dict(ignore_iof_thr=0.4), pos_weight=2.0))
    batch = random_batch(Recipe(objects=(20, 30), ignored=ignored))
    expected = losses_and_gradients(head, batch)
    monkeypatch.setattr(Assignment, "positives", partialmethod(Assignment.positives, compact=False))
    found = losses_and_gradients(head, batch)
    for name in expected[0]:
        assert found[0][name] == pytest.approx(expected[0][name], rel=1e-5)
    assert gradient_difference(expected[1], found[1]) < 1e-6
    assert gradient_difference(expected[2], found[2]) < 1e-6


@pytest.mark.parametrize("empty", [(0,), (1,), (2,), (0, 2)])
@pytest.mark.parametrize("compact", [True, False])
def test_levels_without_a_location(monkeypatch, empty: tuple[int, ...], compact: bool) -> None:
    """Maps without rows or columns are skipped, on a CPU and with the operations of a GPU."""
    monkeypatch.setattr(Assignment, "positives", partialmethod(Assignment.positives, compact=compact))
    theirs, ours = both_heads()
    batch = random_batch(Recipe(objects=(9, 7)))
    for number, level in enumerate(empty):
        for maps in (batch.cls_scores, batch.bbox_preds):
            maps[level] = maps[level][..., :0] if number else maps[level][:, :, :0]
    batch = without_ties(batch, theirs)
    with nullcontext() if compact else use_backend("torch"):
        compare_losses(theirs, ours, batch)
        batch = with_distinct_scores(batch)
        results = [
            head.predict_by_feat(batch.cls_scores, batch.bbox_preds, batch_img_metas=batch.img_metas)
            for head in (theirs, ours)
        ]
    for expected, found in zip(*results):
        assert torch.equal(expected.labels, found.labels)
        assert torch.allclose(expected.bboxes, found.bboxes, rtol=0, atol=1e-3)


def test_box_types_of_mmdetection_are_accepted() -> None:
    from mmdet.structures.bbox import HorizontalBoxes

    head = our_head()
    batch = random_batch(Recipe())
    plain = losses_and_gradients(head, batch)[0]
    for truth in batch.gt_instances:
        truth.bboxes = HorizontalBoxes(truth.bboxes)
    assert losses_and_gradients(head, batch)[0] == plain


def test_channels_last_logits_give_the_same_loss() -> None:
    head = our_head()
    batch = random_batch(Recipe())
    expected = losses_and_gradients(head, batch)
    batch.cls_scores = [level.to(memory_format=torch.channels_last) for level in batch.cls_scores]
    batch.bbox_preds = [level.to(memory_format=torch.channels_last) for level in batch.bbox_preds]
    found = losses_and_gradients(head, batch)
    for name in expected[0]:
        assert found[0][name] == pytest.approx(expected[0][name], rel=1e-6)
    assert gradient_difference(expected[1], found[1]) < 1e-6


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_low_precision_logits_are_computed_in_fp32(dtype: torch.dtype) -> None:
    """The loss of rounded logits is the fp32 loss of the same values, and its gradient has the logits' dtype."""
    head = our_head()
    batch = random_batch(Recipe())
    batch.cls_scores = [level.to(dtype) for level in batch.cls_scores]
    low, low_cls, _ = losses_and_gradients(head, batch)
    batch.cls_scores = [level.float() for level in batch.cls_scores]
    full, full_cls, _ = losses_and_gradients(head, batch)
    assert low["loss_cls"] == pytest.approx(full["loss_cls"], rel=1e-6)
    assert all(level.dtype == dtype for level in low_cls)
    for a, b in zip(low_cls, full_cls):
        assert torch.allclose(a.float(), b.to(dtype).float(), rtol=2e-2, atol=1e-6)


def test_losses_are_the_same_under_autocast() -> None:
    head = our_head()
    batch = random_batch(Recipe())
    expected = losses_and_gradients(head, batch)[0]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert losses_and_gradients(head, batch)[0] == expected


def test_stock_config_and_plugin_names_build_the_same_head() -> None:
    plain = our_head()
    named = our_head(
        loss_cls=dict(type="gfl_plugin.QualityFocalLoss"),
        loss_dfl=dict(type="gfl_plugin.DistributionFocalLoss"),
        loss_bbox=dict(type="gfl_plugin.GIoULoss", loss_weight=2.0),
        bbox_coder=dict(type="gfl_plugin.IntegralBBoxCoder"),
        train_cfg=dict(assigner=dict(type="gfl_plugin.ATSSAssigner")),
    )
    for part in ("loss_cls", "loss_dfl", "bbox_coder", "assigner", "loss_bbox"):
        assert type(getattr(plain, part)) is type(getattr(named, part))
    assert type(plain.loss_cls).__module__.startswith("gfl_plugin")
    assert type(plain.loss_bbox).__module__.startswith("gfl_plugin")
    assert type(our_head(loss_bbox=dict(type="DIoULoss")).loss_bbox).__module__.startswith("mmdet")


def test_bins_of_another_spacing() -> None:
    """Half the spacing and twice the bins cover the same range; a one-hot distribution decodes to its bin."""
    head = our_head(reg_max=32, bbox_coder=dict(type="gfl_plugin.IntegralBBoxCoder", step=0.5))
    batch = random_batch(Recipe(reg_max=32))
    losses = head.loss_by_feat(*batch.arguments())
    assert all(torch.isfinite(level) for levels in losses.values() for level in levels)
    assert torch.equal(head.integral.project, torch.arange(33) * 0.5)
    sharp = torch.full((1, 4, 33), -50.0)
    sharp[..., 7] = 50.0
    assert torch.allclose(head.bbox_coder.integral(sharp.flatten(1)), torch.full((1, 4), 3.5))


def test_names_without_a_scope_outside_our_head_mean_mmdetections_classes() -> None:
    from cases import build_head

    assert type(build_head(head_config())).__module__.startswith("mmdet.")


def test_a_single_candidate_is_a_positive() -> None:
    """The standard deviation of one IoU counts as 0; in MMDetection it is NaN, and the object gets no positive."""
    theirs, ours = both_heads(anchor_generator=dict(strides=[8]))
    batch = random_batch(Recipe(strides=(8,), height=8, width=8, images=1, objects=(1,)))
    batch.gt_instances = [InstanceData(bboxes=torch.tensor([[-3.0, -3.0, 5.0, 5.0]]), labels=torch.tensor([2]))]
    assert losses_and_gradients(theirs, batch)[0]["loss_bbox"] == [0.0]
    assert losses_and_gradients(ours, batch)[0]["loss_bbox"][0] > 0.0


def test_torch_backend_gives_the_same_losses_and_detections() -> None:
    """With PyTorch operations in place of all compiled kernels."""
    cases = [Recipe(seed=seed, images=3, objects=(4, 0, 30), same_size=bool(seed % 2)) for seed in range(6)]
    head = our_head()
    compiled = [losses_and_gradients(head, random_batch(recipe)) for recipe in cases]
    arguments = [with_distinct_scores(random_batch(recipe)) for recipe in cases]

    def detections() -> list:
        return [
            head.predict_by_feat(batch.cls_scores, batch.bbox_preds, batch_img_metas=batch.img_metas)
            for batch in arguments
        ]

    expected = detections()
    with use_backend("torch"):
        without = [losses_and_gradients(head, random_batch(recipe)) for recipe in cases]
        detected = detections()
    for (losses, *gradients), (found, *their_gradients) in zip(compiled, without):
        for name, levels in losses.items():
            assert found[name] == pytest.approx(levels, rel=1e-6, abs=1e-9)
        for ours, theirs in zip(gradients, their_gradients):
            assert gradient_difference(theirs, ours) <= 1e-6
    for batch, again in zip(expected, detected):
        for ours, theirs in zip(batch, again):
            assert torch.equal(ours.labels, theirs.labels) and torch.equal(ours.bboxes, theirs.bboxes)


def test_training_after_inference_mode() -> None:
    """Tensors that a head caches during inference mode can be used for training."""
    changes = dict(reg_max=11, anchor_generator=dict(strides=[8, 16, 64]))  # not cached by other tests
    recipe = Recipe(reg_max=11, strides=(8, 16, 64))
    batch = random_batch(recipe)
    with torch.inference_mode():
        our_head(**changes).predict_by_feat(batch.cls_scores, batch.bbox_preds, batch_img_metas=batch.img_metas)
    _, classes, boxes = losses_and_gradients(our_head(**changes), batch)
    assert all(level.isfinite().all() for level in (*classes, *boxes))
