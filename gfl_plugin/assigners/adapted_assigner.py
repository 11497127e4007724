"""Any of MMDetection's assigners, made to say what GFLHead wants to know."""

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
from .base import BatchAssignment, Predictions
from .candidates import all_priors

# Those that take a prior as (x, y, stride, stride) rather than as a box.
_TAKE_POINTS = (DynamicSoftLabelAssigner, PointAssigner, SimOTAAssigner)
# Those that take class logits rather than scores.
_TAKE_LOGITS = (ATSSAssigner, DynamicSoftLabelAssigner)


class AdaptedAssigner:
    """Asks an assigner of MMDetection's image by image, and puts its answers into one sparse batch.

    Every prior of an image is shown to it: a box, or a point with its stride, as it takes them; and the predicted boxes
    and scores. Locations it answers -1 for (neither positive nor negative) learn nothing.

    Args:
        assigner: the assigner; of those for sets of queries (Hungarian) none is meant for a grid.

    Raises:
        ValueError: for something else.
    """

    def __init__(self, assigner: BaseAssigner) -> None:
        if not isinstance(assigner, BaseAssigner) or isinstance(assigner, HungarianAssigner):
            raise ValueError(
                f"train_cfg.assigner is a {type(assigner).__name__}, which does not assign objects to a grid of "
                "priors; write assigner=dict(type='gfl_plugin.ATSSAssigner', topk=9), or one such as "
                "dict(type='mmdet.MaxIoUAssigner', ...) or dict(type='mmdet.TaskAlignedAssigner', topk=13)"
            )
        self.assigner = assigner
        self.wants_levels = "num_level_priors" in inspect.signature(assigner.assign).parameters
        # ATSS looks at predictions only with DDOD's cost, and warns about them without.
        self.wants_predictions = not isinstance(assigner, ATSSAssigner) or assigner.alpha is not None

    @torch.no_grad()
    def assigned(
        self,
        truths: GroundTruths,
        to_ignore: GroundTruths | None,
        grid: Grid,
        regions: ValidRegions,
        predictions: Predictions,
    ) -> BatchAssignment:
        """Assign all objects of a batch; an object without an area is shown to nobody."""
        owned = torch.cat([mask.flatten(1) for mask in regions.masks(grid)], dim=1) > 0
        ignored = torch.zeros_like(owned)
        rows = []
        for image, own in enumerate(owned):
            numbers = ((truths.image == image) & ~truths.empty).nonzero().squeeze(1)
            index = own.nonzero().squeeze(1)
            answer = self._ask(image, numbers, index, truths, to_ignore, grid, predictions)
            found = answer > 0
            rows.append((torch.full_like(index[found], image), index[found], numbers[answer[found] - 1]))
            ignored[image, index[answer < 0]] = True
        images, priors, objects = (torch.cat(part) for part in zip(*rows))
        level = torch.bucketize(priors, grid.start, right=True) - 1
        order = level.sort(stable=True).indices
        images, priors, objects, level = images[order], priors[order], objects[order], level[order]
        positives = Positives(
            image=images,
            level=level,
            location=priors - grid.start[level],
            gt_index=objects,
            active=torch.ones_like(objects, dtype=torch.bool),
            counts=tuple(torch.bincount(level, minlength=grid.num_levels).tolist()),
        )
        if not ignored.any():
            return BatchAssignment(positives, None)
        areas = [height * width for height, width in grid.sizes]
        maps = ignored.split_with_sizes(areas, dim=1)
        return BatchAssignment(positives, [part.unflatten(1, size) for part, size in zip(maps, grid.sizes)])

    def _ask(
        self,
        image: int,
        numbers: Tensor,
        index: Tensor,
        truths: GroundTruths,
        to_ignore: GroundTruths | None,
        grid: Grid,
        predictions: Predictions,
    ) -> Tensor:
        """(A',) of the priors at an index: the object's place among ``numbers`` + 1, 0 for none, -1 for ignored."""
        if not len(numbers):
            return torch.zeros_like(index)
        boxes = all_priors(grid)
        level = torch.bucketize(index, grid.start, right=True) - 1
        shown = InstanceData(priors=boxes[index])
        if isinstance(self.assigner, _TAKE_POINTS):
            stride = grid.stride[level][:, None]
            shown.priors = torch.cat([centers(boxes[index]), stride, stride], dim=1)
        if self.wants_predictions:
            logits = predictions.logits(image)[index]
            strides = torch.cat([grid.stride[i].expand(h * w) for i, (h, w) in enumerate(grid.sizes)])
            shown.bboxes = predictions.boxes(image, boxes, strides)[index]
            shown.scores = logits if isinstance(self.assigner, _TAKE_LOGITS) else logits.sigmoid()
        objects = InstanceData(bboxes=truths.boxes[numbers], labels=truths.labels[numbers])
        ignore = None
        if to_ignore is not None:
            ignore = InstanceData(bboxes=to_ignore.boxes[to_ignore.image == image])
        if self.wants_levels:
            counts = torch.bincount(level, minlength=grid.num_levels).tolist()
            result = self.assigner.assign(shown, counts, objects, ignore)
        else:
            result = self.assigner.assign(shown, objects, ignore)
        return result.gt_inds
