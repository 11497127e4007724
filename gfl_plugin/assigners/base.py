"""What GFLHead knows of every assigner."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..coders import DistanceBBoxCoder
from ..ops.box_geometry import centers
from ..structures.positives import Positives


@dataclass(frozen=True)
class Predictions:
    """What a network says of a batch, for assigners that ask; nothing is computed before."""

    cls_scores: Sequence[Tensor]  # L maps (B, C, H, W), logits
    bbox_preds: Sequence[Tensor]  # L maps (B, encode_size, H, W)
    coder: DistanceBBoxCoder

    def logits(self, image: int) -> Tensor:
        """(A, C) fp32 class logits of every prior."""
        return _rows(self.cls_scores, image)

    def boxes(self, image: int, priors: Tensor, strides: Tensor) -> Tensor:
        """(A, 4) predicted boxes in pixels."""
        return self.coder.decode(centers(priors), _rows(self.bbox_preds, image), stride=strides)


def _rows(maps: Sequence[Tensor], image: int) -> Tensor:
    return torch.cat([level[image].detach().flatten(1).t() for level in maps]).float()


@dataclass(frozen=True)
class BatchAssignment:
    """What an assigner says of a batch."""

    positives: Positives
    ignored: Sequence[Tensor] | None  # (B, H, W) bool a level, locations that learn nothing; None where there is none
