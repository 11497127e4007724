"""Counts ground truths that nobody can learn."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from mmdet.structures.bbox import get_box_tensor
from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmengine.structures import BaseDataElement

from ..registry import HOOKS
from ..runtime.terminal_text import escape_unprintable
from ..structures.ground_truths import GroundTruths


@HOOKS.register_module()
class BadBoxesHook(Hook):
    """Says once that there are boxes without an area or not finite, and at the end how many.

    GFLHead gives such boxes no location to learn them, so training goes on; ``gfl-plugin check-data`` lists them all.
    They are looked for before a batch goes to a GPU, which need not be waited for. Of several processes each says its
    own. In batches of several branches, as semi-supervised training has them, every branch with ground truths counts.
    """

    def __init__(self) -> None:
        self.found: set[tuple] = set()  # (image, box), each once however often it is seen
        self._said = False

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        for sample in samples_with_boxes(data_batch.get("data_samples") if isinstance(data_batch, Mapping) else None):
            boxes = get_box_tensor(sample.gt_instances.bboxes)
            bad = GroundTruths.of([sample.gt_instances], boxes.device).empty
            if bad.any():
                rows = bad.nonzero().squeeze(1).tolist()
                self._note(runner, sample.get("img_path", sample.get("img_id")), rows, boxes[rows[0]].tolist())

    def _note(self, runner: Runner, image: Any, rows: list[int], box: list[float]) -> None:
        self.found.update((image, row) for row in rows)
        if not self._said:
            self._said = True
            runner.logger.warning(
                f"{escape_unprintable(str(image))} has a box without an area or not finite, {box} in the network's "
                "input: such boxes are ignored. gfl-plugin check-data CONFIG lists them all"
            )

    def after_train(self, runner: Runner) -> None:
        if self.found:
            images = len({image for image, _ in self.found})
            runner.logger.warning(
                f"{len(self.found)} boxes without an area or not finite were ignored, in {images} images"
            )


def samples_with_boxes(samples: Any) -> Iterator[BaseDataElement]:
    """The samples that have ground truth boxes.

    Args:
        samples: a list of samples, a dict of such lists with the branch as key, or None; in the lists of branches, None
            stands for an image of another branch.
    """
    if isinstance(samples, Mapping):
        for branch in samples.values():
            yield from samples_with_boxes(branch)
        return
    for sample in samples or ():
        if isinstance(sample, BaseDataElement) and "bboxes" in sample.get("gt_instances", ()):
            yield sample
