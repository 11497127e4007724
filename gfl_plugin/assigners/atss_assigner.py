r"""Adaptive Training Sample Selection (Zhang et al., arXiv 1912.02424, Algorithm 1).

For each object the ``topk`` priors nearest to its center on each level are candidates. Those whose IoU with the object
reaches mean + standard deviation (unbiased) of its candidates' IoUs and whose center lies inside it are positive.
A prior that is positive for two objects goes to the one of higher IoU.

On a grid the nearest priors lie next to the object's center. A whole batch therefore costs O(G·L·topk·log topk) instead
of O(G·A), without a loop over images, levels or objects.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from mmdet.models.task_modules.assigners import AssignResult
from mmdet.models.task_modules.assigners import ATSSAssigner as MMDetATSSAssigner
from mmdet.structures.bbox import get_box_tensor
from mmengine.structures import InstanceData
from torch import Tensor

from ..ops.host_values import host_tensor
from ..registry import TASK_UTILS
from ..structures.grid import Grid
from ..structures.ground_truths import GroundTruths
from ..structures.valid_regions import ValidRegions
from .atss_assignment import ATSSAssignment
from .base import BatchAssignment, Predictions
from .candidates import IGNORED, Candidates, all_priors, candidates_in_list, candidates_on_grid
from .predicted_cost import with_cost_in_list, with_predicted_cost

AssignerHook = Callable[[ATSSAssignment], ATSSAssignment | None]


@TASK_UTILS.register_module()
class ATSSAssigner(MMDetATSSAssigner):
    """ATSS for a whole batch (:meth:`assign_batch`), and per image with MMDetection's interface (:meth:`assign`).

    Args:
        topk: candidates per object and level, >= 1.
        alpha: weight of the predicted IoU in DDOD's cost, which then replaces the IoU of the priors, see
            :mod:`gfl_plugin.assigners.predicted_cost`; None for ATSS.
        iou_calculator: config of the IoU.
        ignore_iof_thr: a prior is ignored in training if more than this fraction of its area is in an ignored region
            and it is not positive; negative or 0 to disable.
        hooks: callables, or configs of registered callables. They are called one after another with an
            :class:`ATSSAssignment`; if a hook returns an assignment, that replaces the current one.
        min_positives: an object with an area that gets fewer positives is given its best candidates by IoU, see
            :mod:`gfl_plugin.assigners.best_priors`; 0 for MMDetection's assignment, in which some objects, most of them
            tiny, have no positive and are not learned.

    Raises:
        ValueError: if topk is below 1, alpha is not in [0, 1], a hook is not callable, or min_positives is not a whole
            number >= 0.
    """

    def __init__(
        self,
        topk: int = 9,
        alpha: float | None = None,
        iou_calculator: dict = dict(type="mmdet.BboxOverlaps2D"),  # noqa: B006 (read only)
        ignore_iof_thr: float = -1,
        hooks: Sequence[dict | AssignerHook] = (),
        min_positives: int = 0,
    ) -> None:
        if isinstance(topk, bool) or not (isinstance(topk, int) and topk >= 1):
            raise ValueError(f"topk is {topk!r}; it must be a whole number >= 1 (9 in the paper)")
        if isinstance(min_positives, bool) or not (isinstance(min_positives, int) and min_positives >= 0):
            raise ValueError(
                f"min_positives is {min_positives!r}; it must be a whole number >= 0: 1 gives each object at least one "
                "positive, 0 is MMDetection's assignment"
            )
        if alpha is not None and not 0 <= alpha <= 1:
            raise ValueError(f"alpha is {alpha!r}; it must be in [0, 1] (0.8 in DDOD), or None for ATSS")
        super().__init__(topk=topk, alpha=alpha, iou_calculator=iou_calculator, ignore_iof_thr=ignore_iof_thr)
        self.min_positives = min_positives
        self.hooks: list[AssignerHook] = [TASK_UTILS.build(h) if isinstance(h, dict) else h for h in hooks]
        for hook in self.hooks:
            if not callable(hook):
                raise ValueError(f"assigner hook {hook!r} cannot be called; it must take an ATSSAssignment")

    def assign_batch(
        self,
        ground_truths: GroundTruths,
        ignored: GroundTruths | None,
        grid: Grid,
        valid_regions: ValidRegions,
        predictions: Predictions | None = None,
    ) -> BatchAssignment:
        """See :class:`BatchAssigner`. Only DDOD's ``alpha`` uses predictions; without them, the priors' IoU counts."""
        locations = self.ignored_locations(ignored, ground_truths, grid)
        selected = self.select(ground_truths, grid, valid_regions, locations, predictions)
        return BatchAssignment(selected.positives(grid), locations)

    def select(
        self,
        ground_truths: GroundTruths,
        grid: Grid,
        valid_regions: ValidRegions,
        ignored_locations: Sequence[Tensor] | None = None,
        predictions: Predictions | None = None,
    ) -> ATSSAssignment:
        """Compute candidates, thresholds and selected candidates of a batch, and apply the hooks.

        Args:
            ground_truths: the objects.
            grid: the priors.
            valid_regions: the priors that belong to each image.
            ignored_locations: return value of :meth:`ignored_locations`.
            predictions: the network's outputs, for DDOD's ``alpha``.

        Returns:
            The assignment.
        """
        if ignored_locations is None:
            candidates = candidates_on_grid(ground_truths, grid, valid_regions, self.topk, self.iou_calculator)
        else:
            # The nearest priors that are not ignored can be anywhere, so all priors are searched.
            owned = torch.cat([mask.flatten(1) for mask in valid_regions.masks(grid)], dim=1) > 0
            blocked = torch.cat([mask.flatten(1) for mask in ignored_locations], dim=1)
            candidates = candidates_in_list(
                ground_truths.boxes,
                all_priors(grid),
                grid.starts,
                self.topk,
                owned[ground_truths.image],
                blocked[ground_truths.image],
                self.iou_calculator,
            )
        if self.alpha is not None and predictions is not None:
            candidates = with_predicted_cost(
                candidates, ground_truths, grid, predictions, self.alpha, self.iou_calculator
            )
        return self._decide(ground_truths, candidates, grid.num_priors)

    def ignored_locations(
        self, regions_to_ignore: GroundTruths | None, truths: GroundTruths, grid: Grid
    ) -> list[Tensor] | None:
        """Find the locations whose prior is in an ignored region.

        As in MMDetection, no location is ignored in an image without objects.

        Args:
            regions_to_ignore: boxes of ignored regions, or None.
            truths: the objects.
            grid: the priors.

        Returns:
            L maps (B, H, W) bool, or None if no location is ignored.
        """
        if self.ignore_iof_thr <= 0 or regions_to_ignore is None or not len(regions_to_ignore):
            return None
        masks = []
        has_objects = host_tensor([count > 0 for count in truths.counts], torch.bool, grid.device)[:, None, None]
        for level, (height, width) in enumerate(grid.sizes):
            base, stride = grid.base_prior[level], grid.stride[level]
            column = torch.arange(width, device=grid.device) * stride
            row = torch.arange(height, device=grid.device) * stride
            covered_width = _overlap(regions_to_ignore.boxes[:, 0::2], base[0] + column, base[2] + column)
            covered_height = _overlap(regions_to_ignore.boxes[:, 1::2], base[1] + row, base[3] + row)
            area = ((base[2] - base[0]) * (base[3] - base[1])).clamp(min=1e-6)
            part = covered_height[:, :, None] * covered_width[:, None, :] / area
            hit = (part > self.ignore_iof_thr).float()
            hits = hit.new_zeros(len(has_objects), height, width).index_add_(0, regions_to_ignore.image, hit)
            masks.append((hits > 0) & has_objects)
        return masks

    def assign(
        self,
        pred_instances: InstanceData,
        num_level_priors: Sequence[int],
        gt_instances: InstanceData,
        gt_instances_ignore: InstanceData | None = None,
    ) -> AssignResult:
        """Assign the objects of one image to any list of priors, with MMDetection's interface and results.

        Args:
            pred_instances: ``priors`` (A, 4), level after level; with ``alpha`` also the ``bboxes`` (A, 4) and class
                logits ``scores`` (A, C) that the network predicts there.
            num_level_priors: number of priors of each level.
            gt_instances: ``bboxes`` and ``labels``.
            gt_instances_ignore: ``bboxes`` of ignored regions, or None.

        Returns:
            For each prior: 1 + index of its object, 0 for background, -1 for ignored; its IoU, or DDOD's cost with
            ``alpha``; its label.

        Raises:
            ValueError: if ``alpha`` is set and there are no predictions.
        """
        if self.alpha is not None and not ("scores" in pred_instances and "bboxes" in pred_instances):
            raise ValueError(
                f"alpha is {self.alpha:g}, DDOD's weight of predicted boxes, but the head gives its assigner none; "
                "leave alpha out, or use a head such as mmdet.DDODHead or gfl_plugin.GFLHead"
            )
        priors = get_box_tensor(pred_instances.priors)[:, :4]
        truths = GroundTruths.of([gt_instances], priors.device)
        assigned = priors.new_zeros(len(priors), dtype=torch.int64)
        overlap = priors.new_full((len(priors),), -IGNORED if len(truths) and len(priors) else 0.0)
        labels = torch.full_like(assigned, -1)
        if not len(truths) or not len(priors):
            return AssignResult(len(truths), assigned, overlap, labels=labels)
        blocked = self._ignored_priors(priors, gt_instances_ignore)
        assigned[blocked] = -1
        starts = [0]
        for count in num_level_priors:
            starts.append(starts[-1] + int(count))
        shape = (len(truths), len(priors))
        owned = torch.ones(shape, dtype=torch.bool, device=priors.device)
        blocked = blocked.expand(shape)
        candidates = candidates_in_list(truths.boxes, priors, starts, self.topk, owned, blocked, self.iou_calculator)
        if self.alpha is not None:
            predicted = get_box_tensor(pred_instances.bboxes)
            candidates = with_cost_in_list(
                candidates, truths, predicted, pred_instances.scores, self.alpha, self.iou_calculator
            )
        positive = self._decide(truths, candidates, len(priors)).positive
        chosen, slot = positive.nonzero(as_tuple=True)
        index = candidates.prior[chosen, slot]
        assigned[index] = chosen + 1
        overlap[index] = candidates.iou[chosen, slot]
        labels[index] = truths.labels[chosen]
        return AssignResult(len(truths), assigned, overlap, labels=labels)

    def _ignored_priors(self, priors: Tensor, gt_instances_ignore: InstanceData | None) -> Tensor:
        """(A,) bool, priors in an ignored region."""
        if self.ignore_iof_thr <= 0 or gt_instances_ignore is None or not len(gt_instances_ignore):
            return torch.zeros(len(priors), dtype=torch.bool, device=priors.device)
        parts = self.iou_calculator(priors, get_box_tensor(gt_instances_ignore.bboxes), mode="iof")
        return (parts > self.ignore_iof_thr).any(dim=1)

    def _decide(self, ground_truths: GroundTruths, candidates: Candidates, num_priors: int) -> ATSSAssignment:
        none = torch.zeros_like(candidates.valid)
        threshold = candidates.iou.new_zeros(len(none))
        empty = ATSSAssignment(ground_truths, candidates, threshold, none, num_priors, self.min_positives)
        assignment = empty.with_threshold(candidates.threshold())
        for hook in self.hooks:
            answer = hook(assignment)
            if answer is not None:
                if not isinstance(answer, ATSSAssignment):
                    raise ValueError(
                        f"assigner hook {hook!r} returned a {type(answer).__name__}; return an ATSSAssignment, or None "
                        "to leave it unchanged"
                    )
                assignment = answer
        return assignment


def _overlap(spans: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """(I, 2) spans and S spans [low, high] -> (I, S) length of their intersection."""
    return (torch.minimum(spans[:, 1:], high) - torch.maximum(spans[:, :1], low)).clamp(min=0)
