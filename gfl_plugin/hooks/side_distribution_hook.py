"""A hook that shows during training what the detector believes about the sides of its boxes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from mmdet.structures import DetDataSample
from mmengine.config import ConfigDict
from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner
from mmengine.structures import InstanceData
from torch import nn

from ..pictures.pictured_boxes import pictured_boxes, side_bins, side_settings
from ..pictures.read_image import read_rgb
from ..registry import HOOKS


@HOOKS.register_module()
class SideDistributionHook(Hook):
    """Sends pictures of validation images to the visualizer's backends, with the distributions of box sides.

    The pictures are those of ``gfl-plugin show``. They need no test settings: for the batches of these images, the head
    decodes its outputs a second time, with ``with_distributions`` (or ``with_uncertainty``). What the evaluator gets
    does not change. Heads without uncertainty of box sides give pictures with boxes only.

    The name of a picture is ``sides_NUMBER_FILE``, with the position of the image in the data set; its step is the
    training iteration. With several processes, the first one draws, and counts the images that it validates itself.

    Args:
        images: number of images per validation, spread evenly over the data set; the same ones in each validation.
        interval: validations from one that sends pictures to the next, >= 1; the first one does.
        score_thr: smallest score of the boxes that are drawn.
        count: number of boxes per picture whose sides are explained.
        backend_args: of the file backend from which images are read, as in ``DetVisualizationHook``.

    Raises:
        ValueError: for a number outside its range.
    """

    def __init__(
        self,
        images: int = 8,
        interval: int = 1,
        score_thr: float = 0.3,
        count: int = 6,
        backend_args: Mapping | None = None,
    ) -> None:
        for name, value, smallest in (("images", images, 1), ("interval", interval, 1), ("count", count, 0)):
            if not value >= smallest:
                raise ValueError(f"{name} is {value!r}; it must be an integer >= {smallest}")
        if not 0 <= score_thr <= 1:
            raise ValueError(f"score_thr is {score_thr!r}; it must be in [0, 1]")
        self.images, self.interval = images, interval
        self.score_thr, self.count = score_thr, count
        self.backend_args = backend_args
        self._validations = 0
        self._wanted: set[int] = set()  # positions among the images of this process
        self._seen = 0  # images of this validation so far
        self._maps: tuple | None = None  # outputs of the head for the current batch
        self._watch: Any = None  # handle of the function that keeps them
        self._warned = False

    def before_val_epoch(self, runner: Runner) -> None:
        self._stop_watching()  # of a validation that was interrupted
        self._seen, self._wanted = 0, set()
        if is_main_process() and self._validations % self.interval == 0:
            loader = runner.val_dataloader
            total = len(loader.sampler) if loader.sampler is not None else len(loader.dataset)
            self._wanted = spread_evenly(self.images, total)
            head = _head(runner.model)
            if side_settings(head):
                self._watch = head.register_forward_hook(self._keep)
        self._validations += 1

    def after_val_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Sequence[DetDataSample] | None = None
    ) -> None:
        outputs = outputs or ()
        wanted = [number for number in range(len(outputs)) if self._seen + number in self._wanted]
        if wanted:
            found = self._with_sides(_head(runner.model), outputs)
            for number in wanted:
                self._send(runner, self._seen + number, outputs[number], found[number])
        self._seen += len(outputs)
        self._maps = None

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        self._stop_watching()

    def _keep(self, head: nn.Module, inputs: tuple, outputs: tuple) -> None:
        self._maps = outputs

    def _stop_watching(self) -> None:
        if self._watch is not None:
            self._watch.remove()
        self._watch = self._maps = None

    def _with_sides(self, head: nn.Module | None, outputs: Sequence[DetDataSample]) -> list[InstanceData]:
        """Detections with the fields of ``side_settings``, if the head's outputs are known."""
        if self._maps is None:
            return [sample.pred_instances for sample in outputs]
        settings = ConfigDict({**head.test_cfg, **side_settings(head)})
        metas = [sample.metainfo for sample in outputs]
        return head.predict_by_feat(*self._maps, batch_img_metas=metas, cfg=settings, rescale=True)

    def _send(self, runner: Runner, position: int, sample: DetDataSample, found: InstanceData) -> None:
        from ..pictures.side_picture import side_picture  # at first use, because it imports matplotlib

        path = sample.metainfo.get("img_path", "")
        try:
            image = read_rgb(path, self.backend_args)
        except OSError as error:
            if not self._warned:
                runner.logger.warning(f"SideDistributionHook draws no picture of an image that cannot be read: {error}")
            self._warned = True
            return
        classes = getattr(runner.val_dataloader.dataset, "metainfo", {}).get("classes", ())
        pictured = pictured_boxes(found, classes, side_bins(_head(runner.model)), self.score_thr, self.count)
        name = f"sides_{position}_{Path(path).stem}"
        runner.visualizer.add_image(name, side_picture(image, pictured), step=runner.iter)


def spread_evenly(count: int, total: int) -> set[int]:
    """Positions that are spread evenly, the first and the last one included.

    Args:
        count: number of positions, >= 1.
        total: they are below this number.

    Returns:
        At most ``count`` positions; 0 if there is one.
    """
    return {int(position) for position in np.linspace(0, total - 1, min(count, total)).round()}


def _head(model: nn.Module) -> nn.Module | None:
    model = model.module if is_model_wrapper(model) else model
    return getattr(model, "bbox_head", None)
