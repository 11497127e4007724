"""A hook that warns early if data and head do not fit together."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch import nn

from ..registry import HOOKS, MODELS
from ..runtime.terminal_text import escape_unprintable
from .bad_boxes_hook import samples_with_boxes

_SHOWN = 5  # names of classes in a message


@HOOKS.register_module()
class FirstStepsHook(Hook):
    """Warns in the first steps of a training if data and head do not fit together.

    Every run that imports ``gfl_plugin`` has this hook without naming it; it does nothing for heads other than the
    plugin's. It warns

    - before the first step, if ``num_classes`` differs from the number of classes of the training set,
    - if none of the first images has an object, for example because ``metainfo.classes`` are not the names in the
      annotations,
    - if no object was assigned to a location in the first steps: ``loss_bbox`` was 0 in all of them.

    Objects are counted before a batch is copied to a GPU, and losses are read where MMEngine has already synchronized,
    so the hook never waits for the GPU. With several processes, the first process counts its own share.

    Args:
        images: number of images without an object after which the hook warns; the end of the first epoch also ends
            this check.
        steps: number of steps without an assigned object after which the hook warns; the end of the training also ends
            this check.
    """

    def __init__(self, images: int = 100, steps: int = 50) -> None:
        self.images, self.steps = images, steps
        self._active = False
        self._seen = self._objects = self._steps = 0
        self._counting_objects = self._counting_steps = True

    def before_train(self, runner: Runner) -> None:
        heads = list(_plugin_heads(runner.model))
        self._active = bool(heads)
        classes = _classes(runner)
        for head in heads:
            if isinstance(classes, str):
                runner.logger.warning(
                    f"metainfo.classes is the string {escape_unprintable(classes)!r}; it must be a tuple of names: "
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
                self._finish_images(runner)

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: dict | None = None
    ) -> None:
        scalars = runner.message_hub.log_scalars
        if self._active and self._counting_steps and "train/loss_bbox" in scalars:
            self._steps += 1
            if scalars["train/loss_bbox"].current() != 0:
                self._counting_steps = False
            elif self._steps >= self.steps:
                self._finish_steps(runner)

    def after_train_epoch(self, runner: Runner) -> None:
        if self._active:
            self._finish_images(runner)

    def after_train(self, runner: Runner) -> None:
        if self._active:
            self._finish_steps(runner)

    def _finish_images(self, runner: Runner) -> None:
        if self._counting_objects and self._seen and not self._objects:
            runner.logger.warning(
                f"none of the first {self._seen} training images has an object. The training set has "
                f"{_listed(_classes(runner))}: the annotations must use exactly these names. "
                "gfl-plugin check-data CONFIG lists the names in the annotations"
            )
        self._counting_objects = False

    def _finish_steps(self, runner: Runner) -> None:
        if self._counting_steps and self._steps and self._objects:
            runner.logger.warning(
                f"no object was assigned to a location in the first {self._steps} steps (loss_bbox was 0), although "
                f"the images had {self._objects} objects. Objects may be too small in the network's input, or outside "
                "their images; gfl-plugin check-data CONFIG lists objects without a location"
            )
        self._counting_steps = False


def _plugin_heads(model: nn.Module) -> Iterator[nn.Module]:
    """Dense heads of the plugin: modules of a registered type, or a subclass of one, that have ``num_classes``."""
    registered = tuple(MODELS.module_dict.values())
    for module in model.modules():
        if isinstance(module, registered) and hasattr(module, "num_classes"):
            yield module


def _classes(runner: Runner) -> Sequence[str]:
    """The classes of the training set; empty if it does not name them, or joins datasets with different classes."""
    metainfo = getattr(runner.train_dataloader.dataset, "metainfo", None)
    return metainfo.get("classes") or () if isinstance(metainfo, Mapping) else ()


def _listed(classes: Sequence[str]) -> str:
    shown = ", ".join(escape_unprintable(str(name)) for name in classes[:_SHOWN])
    noun = "class" if len(classes) == 1 else "classes"
    return f"{len(classes)} {noun}" + (f" ({shown}{', …' if len(classes) > _SHOWN else ''})" if classes else "")
