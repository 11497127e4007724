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
        costs.append(_cost(logit, predicted, boxes, alpha, iou_calculator).view_as(prior))
    return replace(candidates, iou=torch.cat(costs, dim=1))


@torch.no_grad()
def with_cost_in_list(
    candidates: Candidates,
    truths: GroundTruths,
    predicted: Tensor,
    logits: Tensor,
    alpha: float,
    iou_calculator: IoUCalculator,
) -> Candidates:
    """Like :func:`with_predicted_cost`, for the predictions of any list of priors of one image.

    Args:
        candidates: of the objects.
        truths: the objects, of one image.
        predicted: (A, 4) box predicted at each prior.
        logits: (A, C) class logits at each prior.
        alpha: weight of the IoU.
        iou_calculator: IoU with MMDetection's interface.

    Returns:
        The same candidates with other values of ``iou``.
    """
    prior = candidates.prior
    logit = logits[prior, truths.labels[:, None]].float().flatten()
    boxes = truths.boxes[:, None].expand(*prior.shape, 4).reshape(-1, 4)
    cost = _cost(logit, predicted[prior].float().reshape(-1, 4), boxes, alpha, iou_calculator)
    return replace(candidates, iou=cost.view_as(prior))


def _cost(logit: Tensor, predicted: Tensor, boxes: Tensor, alpha: float, iou_calculator: IoUCalculator) -> Tensor:
    """(N,) cost of N logits, predicted boxes and boxes of objects."""
    if is_plain_iou(iou_calculator):
        overlap = aligned_iou(predicted, boxes, EPSILON)
    else:
        overlap = iou_calculator(predicted, boxes, is_aligned=True).float()
    return logit.sigmoid() ** (1 - alpha) * overlap**alpha
