"""A hook that logs what the class loss asks of the scores: targets, scores and gradients."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner
from torch import Tensor, nn

from ..registry import HOOKS
from ..structures.class_targets import ClassTargets


@HOOKS.register_module()
class ClassLossStatsHook(Hook):
    """Logs statistics of the class loss to the message hub, from which MMEngine's visualizer backends read.

    Scalars, each of one training step per interval:

    * ``train/class_loss/target``: mean quality target of the positives;
    * ``train/class_loss/score``: mean score of the positives at their classes;
    * ``train/class_loss/gradient_positives``: Σ |∂L/∂logit| over the positives at their classes;
    * ``train/class_loss/gradient_negatives``: the same over all other elements.

    L is the class loss with its ``loss_weight`` and normalizer. Such a step computes the class loss twice.

    With ``by_class``, also, for each class c with a positive in the step, ``target_of_class_c``, ``score_of_class_c``
    and ``positives_of_class_c`` (their number). A class that is not learned has a low score, and often bad boxes, which
    keep its target low.

    Args:
        interval: steps between two logs, >= 1.
        by_class: whether to log the scalars of each class; c is the index of the class.

    Raises:
        ValueError: if ``interval`` is below 1, or the model has no head of the plugin.
    """

    def __init__(self, interval: int = 50, by_class: bool = False) -> None:
        if not interval >= 1:
            raise ValueError(f"interval is {interval!r}; it must be an integer >= 1 (steps)")
        self.interval = interval
        self.by_class = by_class
        self._wanted = False
        self._scalars: dict[str, float] = {}

    def before_train(self, runner: Runner) -> None:
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        qualities = [module for module in model.modules() if hasattr(module, "class_losses")]
        if not qualities:
            raise ValueError(
                "ClassLossStatsHook found no head of gfl_plugin; use gfl_plugin.GFLHead as bbox_head, or "
                "remove the hook from custom_hooks"
            )
        for quality in qualities:
            if "class_losses" not in vars(quality):  # else recorded since an earlier training
                quality.class_losses = self._recorded(quality.class_losses)

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        self._wanted = self.every_n_train_iters(runner, self.interval)

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        for name, value in self._scalars.items():
            runner.message_hub.update_scalar(f"train/class_loss/{name}", value)
        self._wanted, self._scalars = False, {}

    def _recorded(self, class_losses: Any) -> Any:
        """The function, with statistics of its arguments in wanted steps."""

        def recorded(loss_cls: nn.Module, logits: Sequence[Tensor], targets: ClassTargets) -> list[Tensor]:
            if self._wanted:
                # fp32: without the loss scale, gradients of negatives are too small for fp16.
                copies = [level.detach().float().requires_grad_() for level in logits]
                with torch.enable_grad():
                    total = torch.stack(class_losses(loss_cls, copies, targets)).sum()
                self._scalars = _statistics(copies, torch.autograd.grad(total, copies), targets, self.by_class)
            return class_losses(loss_cls, logits, targets)

        return recorded


def _statistics(
    logits: Sequence[Tensor], gradients: Sequence[Tensor], targets: ClassTargets, by_class: bool
) -> dict[str, float]:
    """See the scalars of :class:`ClassLossStatsHook`; without positives, only their gradients."""
    positives = targets.positives
    elements = positives.per_level(positives.elements([level.shape for level in logits], targets.label))
    own = [torch.cat([m.flatten()[e] for m, e in zip(maps, elements)]).float() for maps in (logits, gradients)]
    logit, gradient = (rows[positives.active] for rows in own)
    total = sum(float(level.float().abs().sum()) for level in gradients)
    of_positives = float(gradient.abs().sum())
    scalars = {"gradient_positives": of_positives, "gradient_negatives": total - of_positives}
    if len(logit):
        quality, score = targets.quality[positives.active], logit.sigmoid()
        scalars.update(target=float(quality.mean()), score=float(score.mean()))
        if by_class:
            scalars.update(_by_class(targets.label[positives.active], quality, score))
    return scalars


def _by_class(label: Tensor, quality: Tensor, score: Tensor) -> dict[str, float]:
    """Means and number of the (P,) positives of each class."""
    scalars = {}
    for index in label.unique().tolist():
        own = label == index
        scalars[f"target_of_class_{index}"] = float(quality[own].mean())
        scalars[f"score_of_class_{index}"] = float(score[own].mean())
        scalars[f"positives_of_class_{index}"] = float(own.sum())
    return scalars
