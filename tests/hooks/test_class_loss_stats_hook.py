"""The hook's scalars are those of the class loss."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from cases import Batch, Recipe, our_head, random_batch
from mmengine.logging import MessageHub

from gfl_plugin.hooks import ClassLossStatsHook


def trained_step(
    hook: ClassLossStatsHook, head: torch.nn.Module, name: str, step: int = 0, batch: Batch | None = None
) -> dict[str, float]:
    """The scalars after one training step."""
    runner = SimpleNamespace(
        model=torch.nn.ModuleDict({"bbox_head": head}), message_hub=MessageHub.get_instance(name), iter=step
    )
    hook.before_train(runner)
    hook.before_train_iter(runner, step)
    batch = batch or random_batch(Recipe(objects=(6, 4)))
    head.loss_by_feat(*batch.arguments())
    hook.after_train_iter(runner, step)
    return {key.split("/")[-1]: buffer.current() for key, buffer in runner.message_hub.log_scalars.items()}


@pytest.mark.parametrize("settings", [{}, {"quality": {"type": "NoQuality"}, "loss_cls": None}])
def test_gradients_of_positives_and_negatives_are_those_of_the_loss(settings: dict) -> None:
    """Their sum is the gradient of the head's class loss; targets and scores are those of the positives."""
    head = our_head(**settings)
    seen = []
    original = head.quality.class_losses
    head.quality.class_losses = lambda loss, logits, targets: (
        seen.append((logits, targets)) or original(loss, logits, targets)
    )
    batch = random_batch(Recipe(objects=(6, 4)))
    logits = [level.requires_grad_() for level in batch.arguments()[0]]
    losses = head.loss_by_feat(logits, *batch.arguments()[1:])["loss_cls"]
    gradients = torch.autograd.grad(sum(losses), logits)
    targets = seen[0][1]
    del head.quality.class_losses

    scalars = trained_step(ClassLossStatsHook(interval=1), head, f"class loss {len(settings)}")
    places = zip(
        targets.positives.image.tolist(), targets.positives.level.tolist(), targets.positives.location.tolist()
    )
    own = [(level, image, label, where) for (image, level, where), label in zip(places, targets.label.tolist())]
    of_positives = sum(float(gradients[lv][im, label].flatten()[where].abs()) for lv, im, label, where in own)
    scores = [float(logits[lv][im, label].flatten()[where].sigmoid()) for lv, im, label, where in own]
    assert scalars["gradient_positives"] == pytest.approx(of_positives, rel=1e-5)
    total = sum(float(level.abs().sum()) for level in gradients)
    assert scalars["gradient_negatives"] == pytest.approx(total - of_positives, rel=1e-5)
    assert scalars["target"] == pytest.approx(float(targets.quality.mean()), rel=1e-6)
    assert scalars["score"] == pytest.approx(sum(scores) / len(scores), rel=1e-5)


@pytest.mark.parametrize("settings", [{}, {"quality": {"type": "NoQuality"}, "loss_cls": None}])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_scalars_of_half_precision_logits_are_those_of_the_same_logits_in_fp32(
    settings: dict, dtype: torch.dtype
) -> None:
    """Most gradients of QFL's negatives are here below the smallest number of fp16, and the hook has no loss scale."""
    batch = random_batch(Recipe(objects=(6, 4), mean=-5.5, spread=0.3))
    low = [level.to(dtype) for level in batch.cls_scores]
    full = [level.float() for level in low]
    of_low, of_full = (
        trained_step(ClassLossStatsHook(1), our_head(**settings), f"{dtype} {len(settings)} {i}", batch=one)
        for i, one in enumerate(replace(batch, cls_scores=logits) for logits in (low, full))
    )
    assert of_full["gradient_negatives"] > 0 and of_low == pytest.approx(of_full, rel=1e-5)


def test_the_loss_is_the_same_and_other_steps_are_not_recorded() -> None:
    head, batch = our_head(), random_batch(Recipe(objects=(6, 4)))
    before = head.loss_by_feat(*batch.arguments())
    hook = ClassLossStatsHook(interval=2)
    assert trained_step(hook, head, "unrecorded", step=0) == {}
    assert set(trained_step(hook, head, "recorded", step=1)) == {
        "target",
        "score",
        "gradient_positives",
        "gradient_negatives",
    }
    after = head.loss_by_feat(*batch.arguments())
    assert all(torch.equal(one, other) for key in before for one, other in zip(before[key], after[key]))


def test_means_and_numbers_of_classes_add_up_to_those_of_all_positives() -> None:
    head = our_head()
    scalars = trained_step(ClassLossStatsHook(interval=1, by_class=True), head, "by class")
    classes = [int(name.rsplit("_", 1)[1]) for name in scalars if name.startswith("positives_of_class_")]
    counts = [scalars[f"positives_of_class_{index}"] for index in classes]
    assert len(classes) > 2 and min(counts) >= 1
    for name in ("target", "score"):
        of_classes = [scalars[f"{name}_of_class_{index}"] for index in classes]
        assert max(of_classes) > min(of_classes)
        total = sum(count * value for count, value in zip(counts, of_classes))
        assert scalars[name] == pytest.approx(total / sum(counts), rel=1e-5)


def test_a_model_without_such_a_head_is_an_error() -> None:
    runner = SimpleNamespace(model=torch.nn.ModuleDict({"bbox_head": torch.nn.Linear(1, 1)}))
    with pytest.raises(ValueError, match="GFLHead"):
        ClassLossStatsHook().before_train(runner)


def test_the_interval_must_be_positive() -> None:
    with pytest.raises(ValueError, match="interval is 0"):
        ClassLossStatsHook(interval=0)
