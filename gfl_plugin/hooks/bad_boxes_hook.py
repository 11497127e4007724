"""A hook that warns of degenerate ground truth boxes."""

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
    """Warns once of degenerate boxes (zero area or not finite), and logs their number at the end of the training.

    Degenerate boxes are ignored in training; ``gfl-plugin check-data CONFIG`` lists all of them. Boxes are checked
    before a batch is copied to a GPU, so the hook never waits for the GPU. With several processes, each process reports
    its own share. In batches with several branches (semi-supervised training), all branches with ground truths count.
    """

    def __init__(self) -> None:
        self.found: set[tuple] = set()  # (image, row of the box)
        self._warned = False

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        for sample in samples_with_boxes(data_batch.get("data_samples") if isinstance(data_batch, Mapping) else None):
            boxes = get_box_tensor(sample.gt_instances.bboxes)
            bad = GroundTruths.of([sample.gt_instances], boxes.device).empty
            if bad.any():
                rows = bad.nonzero().squeeze(1).tolist()
                self._note(runner, sample.get("img_path", sample.get("img_id")), rows, boxes[rows[0]].tolist())

    def _note(self, runner: Runner, image: Any, rows: list[int], box: list[float]) -> None:
        self.found.update((image, row) for row in rows)
        if not self._warned:
            self._warned = True
            runner.logger.warning(
                f"{escape_unprintable(str(image))} has a degenerate box (zero area or not finite), {box} in the "
                "network's input. Degenerate boxes are ignored in training; gfl-plugin check-data CONFIG lists all of "
                "them"
            )

    def after_train(self, runner: Runner) -> None:
        if self.found:
            images = len({image for image, _ in self.found})
            runner.logger.warning(
                f"{len(self.found)} degenerate boxes (zero area or not finite) in {images} images were ignored"
            )


def samples_with_boxes(samples: Any) -> Iterator[BaseDataElement]:
    """Iterate over the samples with ground truth boxes.

    Args:
        samples: a list of samples, a dict of such lists with the branch as key, or None. In the lists of branches, None
            marks an image of another branch.

    Yields:
        The samples, of all branches.
    """
    if isinstance(samples, Mapping):
        for branch in samples.values():
            yield from samples_with_boxes(branch)
        return
    for sample in samples or ():
        if isinstance(sample, BaseDataElement) and "bboxes" in sample.get("gt_instances", ()):
            yield sample
