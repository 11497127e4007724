"""Class losses that take labels without a quality, on the maps of a pyramid."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from mmdet.models.losses import QualityFocalLoss as MMDetQualityFocalLoss
from mmdet.models.losses import VarifocalLoss
from torch import Tensor, nn

from ..losses import QualityLoss
from ..structures.class_targets import ClassTargets

# Losses that need a quality: ours of positives, MMDetection's of every location.
NOT_LABELLED = (QualityLoss, MMDetQualityFocalLoss, VarifocalLoss)


def labelled_losses(
    loss_cls: nn.Module, logits: Sequence[Tensor], targets: ClassTargets, positive_weight: Tensor | None = None
) -> list[Tensor]:
    """Class losses of each level for a loss that takes labels only, such as MMDetection's FocalLoss.

    Args:
        loss_cls: the loss; it is called with (N, C) logits, (N,) labels (C for background) and (N,) weights.
        logits: L maps (B, C, H, W).
        targets: targets of the class scores; their ``quality`` is not used.
        positive_weight: (P,) factor of each positive's weight, or None for 1.

    Returns:
        One scalar per level.
    """
    positives = targets.positives
    shapes = [(len(level), 1, *level.shape[-2:]) for level in logits]
    elements = positives.elements(shapes)
    rows = positives.targets(elements, shapes)
    losses = []
    factor = torch.ones_like(targets.quality) if positive_weight is None else positive_weight
    pieces = zip(*(positives.per_level(part) for part in (elements, rows, targets.label, factor)))
    for number, (level, (element, row, own_label, own_factor)) in enumerate(zip(logits, pieces)):
        classes = level.shape[1]
        count = level.numel() // classes
        # One more element than locations, to which inactive rows write.
        labels = torch.full((count + 1,), classes, device=level.device)
        labels[row] = own_label
        weight = torch.ones(count + 1, device=level.device)
        if targets.weights is not None:
            weight[:count] = targets.weights[number].flatten()
        weight[row] = weight[element] * own_factor
        flat = level.permute(0, 2, 3, 1).reshape(-1, classes).float()
        losses.append(loss_cls(flat, labels[:count], weight[:count], avg_factor=targets.avg_factor))
    return losses
