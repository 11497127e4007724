"""DDOD's cost of a candidate: what the network predicts there, in place of the prior's IoU."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from ..ops.box_geometry import aligned_iou
from ..structures.grid import Grid
from ..structures.ground_truths import GroundTruths
from .base import Predictions
from .candidate_set import EPSILON, Candidates, IoUCalculator, is_plain_iou


@torch.no_grad()
def with_predicted_cost(
    candidates: Candidates,
    truths: GroundTruths,
    grid: Grid,
    predictions: Predictions,
    alpha: float,
    iou_calculator: IoUCalculator,
) -> Candidates:
    r"""Replace each candidate's IoU by :math:`p^{1-\alpha} u^\alpha` (Chen et al., arXiv 2107.02963).

    p is the predicted score of the object's class at the candidate, u the IoU of the box predicted there with the
    object. Both are read at the candidates only, O(G·L·topk).

    Args:
        candidates: of the objects.
        truths: the objects.
        grid: the priors.
        predictions: the network's outputs.
        alpha: weight of the IoU, 0.8 in DDOD.
        iou_calculator: IoU with MMDetection's interface.

    Returns:
        The same candidates with other values of ``iou``.
    """
    levels = candidates.prior.split_with_sizes(candidates.counts, dim=1)
    costs = []
    for number, prior in enumerate(levels):
        location = (prior - grid.start[number]).reshape(-1)
        row = torch.arange(len(prior), device=prior.device).repeat_interleave(prior.shape[1])
        image, boxes = truths.image[row], truths.boxes[row]
        logit = predictions.cls_scores[number].detach().flatten(2)[image, truths.labels[row], location].float()
        raw = predictions.bbox_preds[number].detach().flatten(2)[image, :, location].float()
        level = torch.full_like(location, number)
        predicted = predictions.coder.decode(grid.center(level, location), raw, stride=grid.stride[level])
        overlap = _overlap(predicted, boxes, iou_calculator)
        costs.append((logit.sigmoid() ** (1 - alpha) * overlap**alpha).view_as(prior))
    return replace(candidates, iou=torch.cat(costs, dim=1))


def _overlap(boxes: Tensor, others: Tensor, iou_calculator: IoUCalculator) -> Tensor:
    if is_plain_iou(iou_calculator):
        return aligned_iou(boxes, others, EPSILON)
    return iou_calculator(boxes, others, is_aligned=True).float()
