"""The candidates of ATSS and their IoUs, shared by all searches for candidates."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from mmdet.models.task_modules.assigners import BboxOverlaps2D
from torch import Tensor

from ..ops.box_geometry import aligned_iou, centers

# Minimum distance in pixels (exclusive) of a positive's center from the sides of its object.
INSIDE = 0.01
# MMDetection's overlap function clamps unions to at least this area.
EPSILON = 1e-6

IoUCalculator = Callable[..., Tensor]


@dataclass(frozen=True)
class Candidates:
    """The candidate priors of each object: M slots per object, level by level."""

    prior: Tensor  # (G, M) index of the prior in its image, 0 … A-1, int64
    distance: Tensor  # (G, M) from the object's center to the prior's, pixels
    iou: Tensor  # (G, M) of prior and object
    inside: Tensor  # (G, M) bool, whether the prior's center lies inside the object
    valid: Tensor  # (G, M) bool; False for slots without a prior, in levels with fewer priors than slots
    counts: tuple[int, ...]  # slots of each level; their sum is M

    def threshold(self) -> Tensor:
        """Compute mean plus unbiased standard deviation of the valid candidates' IoUs.

        In double precision, the mean of equal IoUs is exactly their value, so that no IoU is below it because of
        rounding.

        Returns:
            (G,) fp64. The deviation of a single candidate is 0.
        """
        iou = self.iou.double()
        count = self.valid.sum(dim=1)
        mean = torch.where(self.valid, iou, 0.0).sum(dim=1) / count.clamp(min=1)
        square = torch.where(self.valid, iou - mean[:, None], 0.0).square().sum(dim=1)
        return mean + (square / (count - 1).clamp(min=1)).sqrt()


def measured(
    boxes: Tensor,
    prior: Tensor,
    prior_boxes: Tensor,
    distance: Tensor,
    counts: tuple[int, ...],
    iou_calculator: IoUCalculator,
) -> Candidates:
    """Compute IoUs of candidates, and whether their centers are inside their objects.

    Args:
        boxes: (G, 4) objects.
        prior: (G, M) index of each candidate.
        prior_boxes: (G, M, 4) boxes of the candidates.
        distance: (G, M) distance of the centers, infinite for slots without a prior.
        counts: number of slots per level.
        iou_calculator: IoU with MMDetection's interface.

    Returns:
        The candidates.
    """
    repeated = boxes[:, None].expand_as(prior_boxes)
    if is_plain_iou(iou_calculator):
        iou = aligned_iou(prior_boxes, repeated, EPSILON)
    else:
        iou = iou_calculator(prior_boxes.reshape(-1, 4), repeated.reshape(-1, 4), is_aligned=True)
    center = centers(prior_boxes)
    nearest_side = torch.minimum((center - repeated[..., :2]).amin(-1), (repeated[..., 2:] - center).amin(-1))
    return Candidates(
        prior=prior,
        distance=distance,
        iou=iou.float().view(prior.shape),
        inside=nearest_side > INSIDE,
        valid=distance < float("inf"),
        counts=counts,
    )


def is_plain_iou(iou_calculator: IoUCalculator) -> bool:
    """Check whether a calculator is MMDetection's IoU in the precision of the boxes.

    Args:
        iou_calculator: IoU with MMDetection's interface.

    Returns:
        True if :func:`gfl_plugin.ops.box_geometry.aligned_iou` returns the same numbers.
    """
    return type(iou_calculator) is BboxOverlaps2D and iou_calculator.dtype is None
