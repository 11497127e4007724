"""Adapts MMDetection's per-image assigners to batches."""

from __future__ import annotations

import inspect

import torch
from mmdet.models.task_modules.assigners import (
    ATSSAssigner,
    BaseAssigner,
    DynamicSoftLabelAssigner,
    HungarianAssigner,
    PointAssigner,
    SimOTAAssigner,
)
from mmengine.structures import InstanceData
from torch import Tensor

from ..ops.box_geometry import centers
from ..structures.grid import Grid
from ..structures.ground_truths import GroundTruths
from ..structures.positives import Positives
from ..structures.valid_regions import ValidRegions
from .base import BatchAssigner, BatchAssignment, Predictions
from .candidates import all_priors

# Assigners that take a prior as (x, y, stride, stride) instead of a box.
_TAKE_POINTS = (DynamicSoftLabelAssigner, PointAssigner, SimOTAAssigner)
# Assigners that take class logits instead of scores.
_TAKE_LOGITS = (ATSSAssigner, DynamicSoftLabelAssigner)


class AdaptedAssigner:
    """Calls an MMDetection assigner once per image and collects its results in one sparse batch.

    The assigner receives all priors of an image (boxes, or points with strides, depending on its type) with predicted
    boxes and scores. Locations for which it returns -1 (neither positive nor negative) are ignored in training.

    Args:
        assigner: an MMDetection assigner for grids of priors, not for sets of queries (Hungarian).

    Raises:
        ValueError: if ``assigner`` is another object.
    """

    def __init__(self, assigner: BaseAssigner) -> None:
        if not isinstance(assigner, BaseAssigner) or isinstance(assigner, HungarianAssigner):
            raise ValueError(
                f"train_cfg.assigner is a {type(assigner).__name__}, which does not assign objects to a grid of "
                "priors; write assigner=dict(type='gfl_plugin.ATSSAssigner', topk=9), or for example "
                "dict(type='mmdet.MaxIoUAssigner', ...) or dict(type='mmdet.TaskAlignedAssigner', topk=13)"
            )
        self.assigner = assigner
        self.takes_levels = "num_level_priors" in inspect.signature(assigner.assign).parameters
        # ATSS uses predictions only for DDOD's cost, and logs a warning if it receives them without alpha.
        self.takes_predictions = not isinstance(assigner, ATSSAssigner) or assigner.alpha is not None

    @torch.no_grad()
    def assign_batch(
        self,
        ground_truths: GroundTruths,
        ignored: GroundTruths | None,
        grid: Grid,
        valid_regions: ValidRegions,
        predictions: Predictions | None,
    ) -> BatchAssignment:
        """See :class:`BatchAssigner`. Degenerate objects are not passed to the assigner.

        Raises:
            ValueError: without predictions, unless the assigner is an ATSSAssigner without ``alpha``.
        """
        if predictions is None and self.takes_predictions:
            raise ValueError(
                f"a {type(self.assigner).__name__} of MMDetection is called with predicted boxes and scores, but "
                "predictions is None; give the outputs of a network, gfl_plugin.assigners.Predictions(cls_scores, "
                "bbox_preds, bbox_coder), or use a gfl_plugin.ATSSAssigner, which needs none"
            )
        truths, to_ignore = ground_truths, ignored
        owned = torch.cat([mask.flatten(1) for mask in valid_regions.masks(grid)], dim=1) > 0
        neither = torch.zeros_like(owned)
        rows = []
        for image, own in enumerate(owned):
            numbers = ((truths.image == image) & ~truths.empty).nonzero().squeeze(1)
            index = own.nonzero().squeeze(1)
            answer = self._assign_image(image, numbers, index, truths, to_ignore, grid, predictions)
            found = answer > 0
            rows.append((torch.full_like(index[found], image), index[found], numbers[answer[found] - 1]))
            neither[image, index[answer < 0]] = True
        images, priors, objects = (torch.cat(part) for part in zip(*rows))
        level = torch.bucketize(priors, grid.start, right=True) - 1
        positives = Positives.of(images, level, priors - grid.start[level], objects, grid.num_levels)
        if not neither.any():
            return BatchAssignment(positives)
        areas = [height * width for height, width in grid.sizes]
        maps = neither.split_with_sizes(areas, dim=1)
        return BatchAssignment(positives, [part.unflatten(1, size) for part, size in zip(maps, grid.sizes)])

    def _assign_image(
        self,
        image: int,
        numbers: Tensor,
        index: Tensor,
        truths: GroundTruths,
        to_ignore: GroundTruths | None,
        grid: Grid,
        predictions: Predictions | None,
    ) -> Tensor:
        """(A',) for the priors at ``index``: 1 + index of the object in ``numbers``, 0 for negative, -1 for ignored."""
        if not len(numbers):
            return torch.zeros_like(index)
        boxes = all_priors(grid)
        level = torch.bucketize(index, grid.start, right=True) - 1
        shown = InstanceData(priors=boxes[index])
        if isinstance(self.assigner, _TAKE_POINTS):
            stride = grid.stride[level][:, None]
            shown.priors = torch.cat([centers(boxes[index]), stride, stride], dim=1)
        if self.takes_predictions:
            logits = predictions.logits(image)[index]
            strides = torch.cat([grid.stride[i].expand(h * w) for i, (h, w) in enumerate(grid.sizes)])
            shown.bboxes = predictions.boxes(image, boxes, strides)[index]
            shown.scores = logits if isinstance(self.assigner, _TAKE_LOGITS) else logits.sigmoid()
        objects = InstanceData(bboxes=truths.boxes[numbers], labels=truths.labels[numbers])
        ignore = None
        if to_ignore is not None:
            ignore = InstanceData(bboxes=to_ignore.boxes[to_ignore.image == image])
        if self.takes_levels:
            counts = torch.bincount(level, minlength=grid.num_levels).tolist()
            result = self.assigner.assign(shown, counts, objects, ignore)
        else:
            result = self.assigner.assign(shown, objects, ignore)
        return result.gt_inds


def as_batch_assigner(assigner: object) -> BatchAssigner:
    """Adapt an assigner to batches if it assigns single images.

    Args:
        assigner: built from ``train_cfg.assigner``.

    Returns:
        ``assigner`` if it has ``assign_batch``, else an :class:`AdaptedAssigner` that calls it.

    Raises:
        ValueError: if ``assigner`` is neither a batch assigner nor an MMDetection assigner for grids.
    """
    return assigner if callable(getattr(assigner, "assign_batch", None)) else AdaptedAssigner(assigner)
