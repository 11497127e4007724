r"""Adaptive Training Sample Selection (Zhang et al., arXiv 1912.02424, Algorithm 1).

For each object the ``topk`` priors nearest its center on each level are candidates. Those whose IoU with it reaches
mean + standard deviation (unbiased) of all its candidates' IoUs, and whose center lies inside it, learn it. A prior
that two objects claim goes to the one it overlaps most.

On a grid the nearest priors lie next to the object's center, so a whole batch is assigned in O(G·L·topk·log topk) work
instead of O(G·A), without a loop over images, levels or objects.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from mmdet.models.task_modules.assigners import AssignResult
from mmdet.models.task_modules.assigners import ATSSAssigner as MMDetATSSAssigner
from mmdet.structures.bbox import get_box_tensor
from mmengine.structures import InstanceData
from torch import Tensor

from ..ops.host_values import host_tensor, on_host
from ..registry import TASK_UTILS
from ..structures.grid import Grid
from ..structures.ground_truths import GroundTruths
from ..structures.positives import Positives
from ..structures.valid_regions import ValidRegions
from .base import BatchAssignment
from .candidates import IGNORED, Candidates, all_priors, candidates_in_list, candidates_on_grid


@dataclass(frozen=True)
class Assignment:
    """Who learns what, and why: what assigner hooks see and may replace."""

    truths: GroundTruths
    candidates: Candidates
    threshold: Tensor  # (G,) IoU a candidate must reach, fp64
    claimed: Tensor  # (G, M) bool, candidates the object wants
    num_priors: int  # A, of one image

    def with_threshold(self, threshold: Tensor) -> Assignment:
        """The assignment that other thresholds (G,) give."""
        candidates = self.candidates
        reached = candidates.iou.double() >= threshold[:, None]
        return replace(self, threshold=threshold, claimed=reached & candidates.inside & candidates.valid)

    @property
    def positive(self) -> Tensor:
        """(G, M) bool, ``claimed`` after priors claimed twice went to the object of highest IoU (a tie: the first)."""
        iou = self.candidates.iou
        slots = (self.truths.image[:, None] * self.num_priors + self.candidates.prior).reshape(-1)
        # The bits of floats >= 0 order as their values do: one integer ranks a claim by IoU, then by object.
        rank = len(iou) - torch.arange(len(iou), device=iou.device)[:, None]
        claims = torch.where(self.claimed, (iou.view(torch.int32).long() << 32) + rank, 0).reshape(-1)
        best = claims.new_empty(len(self.truths.counts) * self.num_priors)
        best[slots] = 0  # the rest is never read
        best.scatter_reduce_(0, slots, claims, "amax")
        return self.claimed & (claims == best[slots]).view_as(iou)

    def positives(self, grid: Grid, compact: bool | None = None) -> Positives:
        """Level after level, one row a positive; or, not compact, one row a candidate, most of them inert.

        Counting positives makes the host wait for a GPU, so the default is compact on a CPU only.
        """
        candidates, device = self.candidates, self.claimed.device
        positive = self.positive.split_with_sizes(candidates.counts, dim=1)
        prior = candidates.prior.split_with_sizes(candidates.counts, dim=1)
        # Object after object in each level, as the priors of one lie side by side in memory.
        if on_host(self.claimed) if compact is None else compact:
            found = [own.nonzero(as_tuple=True) for own in positive]
            chosen = torch.cat([row for row, _ in found])
            prior = torch.cat([own[index] for own, index in zip(prior, found)])
            active = torch.ones_like(chosen, dtype=torch.bool)
            counts = tuple(len(row) for row, _ in found)
        else:
            objects = torch.arange(len(self.claimed), device=device)[:, None]
            chosen = torch.cat([objects.expand_as(own).reshape(-1) for own in prior])
            prior = torch.cat([own.reshape(-1) for own in prior])
            active = torch.cat([own.reshape(-1) for own in positive])
            counts = tuple(len(self.claimed) * count for count in candidates.counts)
        level = torch.cat([chosen.new_full((count,), number) for number, count in enumerate(counts)])
        return Positives(
            image=self.truths.image[chosen],
            level=level,
            location=prior - grid.start[level],
            gt_index=chosen,
            active=active,
            counts=counts,
        )


AssignerHook = Callable[[Assignment], Assignment | None]


@TASK_UTILS.register_module()
class ATSSAssigner(MMDetATSSAssigner):
    """ATSS for a whole batch (:meth:`assign_batch`), and for one image as MMDetection's (:meth:`assign`).

    Args:
        topk: candidates an object takes from each level, >= 1.
        alpha: DDOD's cost exponent; only MMDetection's own computation knows it, which then runs instead.
        iou_calculator: config of the IoU.
        ignore_iof_thr: a prior of which more than this part lies in an ignored region is not trained on (unless it is
            a positive); negative or 0 for none.
        hooks: callables, or configs of registered ones, called in turn with each :class:`Assignment`. One that returns
            an assignment replaces it.

    Raises:
        ValueError: for a topk below 1, or a hook that cannot be called.
    """

    def __init__(
        self,
        topk: int = 9,
        alpha: float | None = None,
        iou_calculator: dict = dict(type="mmdet.BboxOverlaps2D"),  # noqa: B006 (read only)
        ignore_iof_thr: float = -1,
        hooks: Sequence[dict | AssignerHook] = (),
    ) -> None:
        if not (isinstance(topk, int) and topk >= 1):
            raise ValueError(f"topk is {topk!r}; it must be a whole number >= 1 (the paper's is 9)")
        super().__init__(topk=topk, alpha=alpha, iou_calculator=iou_calculator, ignore_iof_thr=ignore_iof_thr)
        self.hooks: list[AssignerHook] = [TASK_UTILS.build(h) if isinstance(h, dict) else h for h in hooks]
        for hook in self.hooks:
            if not callable(hook):
                raise ValueError(f"assigner hook {hook!r} cannot be called; it must take an Assignment")

    def assigned(
        self,
        truths: GroundTruths,
        to_ignore: GroundTruths | None,
        grid: Grid,
        regions: ValidRegions,
        predictions: object = None,
    ) -> BatchAssignment:
        """What a batch learns, and which locations learn nothing; predictions are not looked at."""
        ignored = self.ignored_locations(to_ignore, truths, grid)
        return BatchAssignment(self.assign_batch(truths, grid, regions, ignored).positives(grid), ignored)

    def assign_batch(
        self, truths: GroundTruths, grid: Grid, regions: ValidRegions, ignored: Sequence[Tensor] | None = None
    ) -> Assignment:
        """Assign all objects of a batch.

        Args:
            truths: the objects.
            grid: the priors.
            regions: which priors belong to each image.
            ignored: from :meth:`ignored_locations`.
        """
        if ignored is None:
            candidates = candidates_on_grid(truths, grid, regions, self.topk, self.iou_calculator)
        else:
            # The nearest that are not ignored may lie anywhere, so all are looked at.
            owned = torch.cat([mask.flatten(1) for mask in regions.masks(grid)], dim=1) > 0
            blocked = torch.cat([mask.flatten(1) for mask in ignored], dim=1)
            candidates = candidates_in_list(
                truths.boxes,
                all_priors(grid),
                grid.starts,
                self.topk,
                owned[truths.image],
                blocked[truths.image],
                self.iou_calculator,
            )
        return self._decide(truths, candidates, grid.num_priors)

    def ignored_locations(
        self, regions_to_ignore: GroundTruths | None, truths: GroundTruths, grid: Grid
    ) -> list[Tensor] | None:
        """(B, H, W) bool a level, the locations whose prior lies in an ignored region; None where there is none.

        As in MMDetection, nothing is ignored in an image without objects.
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
        """Assign one image's objects to any list of priors; MMDetection's interface and numbers.

        Args:
            pred_instances: ``priors`` (A, 4), level after level.
            num_level_priors: number of priors of each level.
            gt_instances: ``bboxes`` and ``labels``.
            gt_instances_ignore: ``bboxes`` of ignored regions, or None.
        """
        if self.alpha is not None:
            return super().assign(pred_instances, num_level_priors, gt_instances, gt_instances_ignore)
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

    def _decide(self, truths: GroundTruths, candidates: Candidates, num_priors: int) -> Assignment:
        nobody = torch.zeros_like(candidates.valid)
        undecided = Assignment(truths, candidates, candidates.iou.new_zeros(len(nobody)), nobody, num_priors)
        assignment = undecided.with_threshold(candidates.threshold())
        for hook in self.hooks:
            answer = hook(assignment)
            if answer is not None:
                if not isinstance(answer, Assignment):
                    raise ValueError(
                        f"assigner hook {hook!r} returned a {type(answer).__name__}; return an Assignment, or None to "
                        "leave it as it is"
                    )
                assignment = answer
        return assignment


def _overlap(spans: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """(I, 2) spans against S spans [low, high] -> (I, S) length they share."""
    return (torch.minimum(spans[:, 1:], high) - torch.maximum(spans[:, :1], low)).clamp(min=0)
