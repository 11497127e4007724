"""What every quality representation answers: its outputs, its targets, its losses, its part of the score."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from ..losses import QualityFocalLoss
from ..structures.class_targets import ClassTargets


@dataclass(frozen=True)
class Matched:
    """Predictions and objects at the positives, in strides of each one's level; constants all."""

    distance: Tensor  # (P, 4) from the location to the object's left, top, right and bottom side
    predicted: Tensor  # (P, 4) box x1, y1, x2, y2
    target: Tensor  # (P, 4) the object's box
    score: Tensor  # (P,) highest class score, in [0, 1]


class QualityRepresentation(nn.Module):
    """How a head learns and uses the quality of its boxes. A strategy of ``GFLHead``: ``quality=dict(type=...)``.

    The methods here are those of a head without any; a subclass overrides what it does differently.
    """

    # The class loss where a config names none.
    default_loss_cls: ClassVar[dict] = {"type": "FocalLoss", "use_sigmoid": True, "gamma": 2.0, "alpha": 0.25}
    # Whether outputs() gives maps of quality logits as well, which then multiply the score.
    has_branch: ClassVar[bool] = False

    def init_layers(self, feat_channels: int) -> None:
        """Make the layers, where there are some, for features of this many channels."""

    def outputs(self, cls_logits: Tensor, reg_feat: Tensor, box_raw: Tensor) -> tuple[Tensor, ...]:
        """What one level gives: class logits (B, C, H, W), box numbers, and (B, 1, H, W) quality logits of a branch."""
        return cls_logits, box_raw

    def check_loss_cls(self, loss_cls: nn.Module) -> None:
        """A ValueError where a class loss does not fit."""
        if isinstance(loss_cls, QualityFocalLoss):
            raise ValueError(
                f"loss_cls is a QualityFocalLoss, which needs a quality as its target; with quality="
                f"dict(type={type(self).__name__!r}) write loss_cls=dict(type='FocalLoss', use_sigmoid=True)"
            )
        if not getattr(loss_cls, "use_sigmoid", False):
            raise ValueError(
                f"loss_cls is a {type(loss_cls).__name__} with softmax; GFLHead's scores are sigmoids: write "
                "use_sigmoid=True"
            )

    def target(self, matched: Matched) -> Tensor:
        """(P,) what is learned as the quality of each positive, in [0, 1]."""
        return torch.ones_like(matched.score)

    def box_weight(self, matched: Matched, target: Tensor) -> Tensor:
        """(P,) weight of each positive in the box losses, which are divided by the weights' sum."""
        return target

    def class_losses(self, loss_cls: nn.Module, logits: Sequence[Tensor], targets: ClassTargets) -> list[Tensor]:
        """The class loss of each level's logits (B, C, H, W)."""
        return labelled_losses(loss_cls, logits, targets)

    def branch_losses(self, quality_logits: Sequence[Tensor] | None, targets: ClassTargets) -> dict[str, list[Tensor]]:
        """Losses a level of what only this representation has, by name."""
        return {}


def labelled_losses(
    loss_cls: nn.Module, logits: Sequence[Tensor], targets: ClassTargets, positive_weight: Tensor | None = None
) -> list[Tensor]:
    """A loss that knows classes only, one of MMDetection's, over each level's logits (B, C, H, W).

    Args:
        loss_cls: the loss.
        logits: L maps.
        targets: of which the quality is not looked at.
        positive_weight: (P,) factor of each positive's weight, or None for 1.
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
        # One element too many, to which inert rows write.
        labels = torch.full((count + 1,), classes, device=level.device)
        labels[row] = own_label
        weight = torch.ones(count + 1, device=level.device)
        if targets.weights is not None:
            weight[:count] = targets.weights[number].flatten()
        weight[row] = weight[element] * own_factor
        flat = level.permute(0, 2, 3, 1).reshape(-1, classes).float()
        losses.append(loss_cls(flat, labels[:count], weight[:count], avg_factor=targets.avg_factor))
    return losses
