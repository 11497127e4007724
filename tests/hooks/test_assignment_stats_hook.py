"""The hook's scalars describe the assignment, and are in the message hub."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from cases import Recipe, our_head, random_batch
from mmengine.logging import MessageHub
from mmengine.structures import InstanceData

from gfl_plugin.hooks import AssignmentStatsHook


def a_runner(head: torch.nn.Module, name: str) -> SimpleNamespace:
    """The attributes of a Runner that the hook uses."""
    return SimpleNamespace(model=torch.nn.ModuleDict({"bbox_head": head}), message_hub=MessageHub.get_instance(name))


def test_logs_what_was_assigned() -> None:
    head = our_head()
    seen = []
    head.assigner.hooks.append(lambda assignment: seen.append(assignment))
    hook, runner = AssignmentStatsHook(interval=2), a_runner(head, "stats")
    hook.before_train(runner)
    hook.before_train(runner)  # in a second run of the same model nothing is registered twice
    for seed in range(2):
        batch = random_batch(Recipe(seed=seed, objects=(6, 4)))
        nothing = InstanceData(bboxes=torch.tensor([[5.0, 5.0, 5.0, 9.0]]), labels=torch.tensor([0]))
        batch.gt_instances[1] = InstanceData.cat([batch.gt_instances[1], nothing])
        head.loss_by_feat(*batch.arguments())
        hook.after_train_iter(runner, seed)
    scalars = {name: buffer.current() for name, buffer in runner.message_hub.log_scalars.items()}
    positives = sum(int(assignment.positive.sum()) for assignment in seen)
    alone = sum(int((~assignment.positive.any(dim=1)).sum()) for assignment in seen)
    assert scalars["train/assign/positives_per_object"] == pytest.approx(positives / 22)
    assert scalars["train/assign/objects_without_positive"] == pytest.approx(alone / 22)
    assert scalars["train/assign/objects_given_best_prior"] == 0
    assert scalars["train/assign/empty_objects"] == pytest.approx(2 / 22)
    levels = [scalars[f"train/assign/positives_level_{level}"] for level in range(3)]
    assert sum(levels) == pytest.approx(positives / 2)


def test_objects_that_are_given_their_best_prior_are_counted() -> None:
    """Of three objects two are smaller than the stride and lie between the locations."""
    head = our_head(train_cfg=dict(assigner=dict(min_positives=1)))
    hook, runner = AssignmentStatsHook(interval=1), a_runner(head, "given")
    hook.before_train(runner)
    batch = random_batch(Recipe(images=1, objects=(0,)))
    boxes = torch.tensor([[18.0, 18.0, 21.0, 21.0], [10.0, 10.0, 60.0, 61.0], [34.0, 43.0, 38.0, 46.0]])
    batch.gt_instances = [InstanceData(bboxes=boxes, labels=torch.tensor([0, 1, 2]))]
    head.loss_by_feat(*batch.arguments())
    hook.after_train_iter(runner, 0)
    scalars = {name: buffer.current() for name, buffer in runner.message_hub.log_scalars.items()}
    assert scalars["train/assign/objects_given_best_prior"] == pytest.approx(2 / 3)
    assert scalars["train/assign/objects_without_positive"] == 0


def test_nothing_is_logged_before_the_interval() -> None:
    head = our_head()
    hook, runner = AssignmentStatsHook(interval=5), a_runner(head, "early")
    hook.before_train(runner)
    head.loss_by_feat(*random_batch(Recipe()).arguments())
    hook.after_train_iter(runner, 0)
    assert not runner.message_hub.log_scalars


def test_batch_without_objects() -> None:
    head = our_head()
    hook, runner = AssignmentStatsHook(interval=1), a_runner(head, "empty")
    hook.before_train(runner)
    head.loss_by_feat(*random_batch(Recipe(objects=(0, 0))).arguments())
    hook.after_train_iter(runner, 0)
    assert runner.message_hub.get_scalar("train/assign/positives_level_0").current() == 0


def test_mistakes() -> None:
    with pytest.raises(ValueError, match="interval is 0"):
        AssignmentStatsHook(interval=0)
    with pytest.raises(ValueError, match="no assigner that accepts hooks"):
        AssignmentStatsHook().before_train(a_runner(torch.nn.Linear(1, 1), "none"))
