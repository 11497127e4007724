"""A hook that logs statistics of the assignment of objects to locations."""

from __future__ import annotations

from typing import Any

import torch
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner

from ..registry import HOOKS


@HOOKS.register_module()
class AssignmentStatsHook(Hook):
    """Logs statistics of the assignment to the message hub, from which MMEngine's visualizer backends read.

    Scalars, averaged over the training steps of an interval:

    * ``train/assign/positives_per_object``: positives divided by objects;
    * ``train/assign/positives_level_<i>``: positives per step on each level;
    * ``train/assign/objects_without_positive``: share of objects without a positive location;
    * ``train/assign/objects_given_best_prior``: share of objects that the assigner's ``min_positives`` gave locations;
    * ``train/assign/empty_objects``: share of objects with a degenerate box (zero area or not finite).

    Args:
        interval: steps between two logs, >= 1. Counts stay on the model's device until they are logged.

    Raises:
        ValueError: if ``interval`` is below 1, or no assigner of the model accepts hooks.
    """

    def __init__(self, interval: int = 50) -> None:
        if not interval >= 1:
            raise ValueError(f"interval is {interval!r}; it must be an integer >= 1 (steps)")
        self.interval = interval
        self._steps = 0
        self._sums: torch.Tensor | None = None

    def before_train(self, runner: Runner) -> None:
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        assigners = [module.assigner for module in model.modules() if hasattr(module, "assigner")]
        assigners = [assigner for assigner in assigners if isinstance(getattr(assigner, "hooks", None), list)]
        if not assigners:
            raise ValueError(
                "AssignmentStatsHook found no assigner that accepts hooks; set train_cfg.assigner to a "
                "gfl_plugin.ATSSAssigner, or remove the hook from custom_hooks"
            )
        for assigner in assigners:
            if self._record not in assigner.hooks:
                assigner.hooks.append(self._record)

    def _record(self, assignment: Any) -> None:
        """Add up the counts of one assignment; called by the assigner, without synchronizing with the GPU."""
        positive = assignment.positive
        per_level = [part.sum() for part in positive.split(assignment.candidates.counts, dim=1)]
        truths, won = assignment.truths, assignment.won if assignment.min_positives else positive
        sums = torch.stack(
            [
                positive.new_tensor(len(truths), dtype=torch.int64),
                (~positive.any(dim=1)).sum(),
                (positive & ~won).any(dim=1).sum(),
                truths.empty.sum(),
                *per_level,
            ]
        )
        self._sums = sums if self._sums is None else self._sums + sums

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        self._steps += 1
        if self._steps < self.interval or self._sums is None:
            return
        objects, without, given, empty, *per_level = self._sums.tolist()
        scalars = {f"positives_level_{level}": count / self._steps for level, count in enumerate(per_level)}
        if objects:
            scalars["positives_per_object"] = sum(per_level) / objects
            scalars["objects_without_positive"] = without / objects
            scalars["objects_given_best_prior"] = given / objects
            scalars["empty_objects"] = empty / objects
        for name, value in scalars.items():
            runner.message_hub.update_scalar(f"train/assign/{name}", value)
        self._steps, self._sums = 0, None
