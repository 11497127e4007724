"""Warns early of a training that has nothing to learn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mmengine.hooks import Hook
from mmengine.runner import Runner

from ..heads import GFLHead
from ..heads.joint_score import JointScore
from ..registry import HOOKS
from ..runtime.terminal_text import escape_unprintable
from .bad_boxes_hook import samples_with_boxes

_SHOWN = 5  # names of classes in a message


@HOOKS.register_module()
class FirstStepsHook(Hook):
    """Warns in the first steps of a training where data and head do not fit together.

    Runs that import ``gfl_plugin`` have it without naming it; for other heads than the plugin's it does nothing. It
    warns

    - before the first step, if ``num_classes`` is not the number of the training set's classes,
    - if none of the first images has an object, as when ``metainfo.classes`` are not the annotations' names,
    - if no location learned a box in the first steps: ``loss_bbox`` was 0 in all of them.

    Objects are counted before a batch goes to a GPU, and losses where MMEngine has already read them, so that nothing
    waits for the GPU. Of several processes the first one counts its own part.

    Args:
        images: images without an object to warn after; a shorter first epoch ends the count, too.
        steps: steps without a box to warn after; a shorter training ends the count, too.
    """

    def __init__(self, images: int = 100, steps: int = 50) -> None:
        self.images, self.steps = images, steps
        self._active = False
        self._seen = self._objects = self._steps = 0
        self._counting_objects = self._counting_steps = True

    def before_train(self, runner: Runner) -> None:
        heads = [module for module in runner.model.modules() if isinstance(module, (GFLHead, JointScore))]
        self._active = bool(heads)
        classes = _classes(runner)
        for head in heads:
            if isinstance(classes, str):
                runner.logger.warning(
                    f"metainfo.classes is the text {escape_unprintable(classes)!r}; it must be a tuple of names: "
                    "('name',) with the comma"
                )
            elif classes and head.num_classes != len(classes):
                runner.logger.warning(
                    f"the head has num_classes={head.num_classes}, but the training set has {_listed(classes)}. Set "
                    f"bbox_head.num_classes={len(classes)}, or correct metainfo.classes"
                )

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        if not (self._active and isinstance(data_batch, Mapping)):
            return
        if self._counting_objects or self._counting_steps:
            for sample in samples_with_boxes(data_batch.get("data_samples")):
                self._seen += 1
                self._objects += len(sample.gt_instances)
            if self._objects or self._seen >= self.images:
                self._end_of_images(runner)

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: dict | None = None
    ) -> None:
        scalars = runner.message_hub.log_scalars
        if self._active and self._counting_steps and "train/loss_bbox" in scalars:
            self._steps += 1
            if scalars["train/loss_bbox"].current() != 0:
                self._counting_steps = False
            elif self._steps >= self.steps:
                self._end_of_steps(runner)

    def after_train_epoch(self, runner: Runner) -> None:
        if self._active:
            self._end_of_images(runner)

    def after_train(self, runner: Runner) -> None:
        if self._active:
            self._end_of_steps(runner)

    def _end_of_images(self, runner: Runner) -> None:
        if self._counting_objects and self._seen and not self._objects:
            runner.logger.warning(
                f"none of the first {self._seen} training images has an object. The training set has "
                f"{_listed(_classes(runner))}: annotations must have objects of exactly these names. "
                "gfl-plugin check-data CONFIG lists those they have"
            )
        self._counting_objects = False

    def _end_of_steps(self, runner: Runner) -> None:
        if self._counting_steps and self._steps and self._objects:
            runner.logger.warning(
                f"no location learned a box in the first {self._steps} steps (loss_bbox was 0), though images had "
                f"{self._objects} objects. Are they too small in the network's input, or outside of their images? "
                "gfl-plugin check-data CONFIG lists objects that no location learns"
            )
        self._counting_steps = False


def _classes(runner: Runner) -> Sequence[str]:
    """The training set's classes; none where it does not name them, or joins sets with unlike ones."""
    metainfo = getattr(runner.train_dataloader.dataset, "metainfo", None)
    return metainfo.get("classes") or () if isinstance(metainfo, Mapping) else ()


def _listed(classes: Sequence[str]) -> str:
    shown = ", ".join(escape_unprintable(str(name)) for name in classes[:_SHOWN])
    noun = "class" if len(classes) == 1 else "classes"
    return f"{len(classes)} {noun}" + (f" ({shown}{', …' if len(classes) > _SHOWN else ''})" if classes else "")
