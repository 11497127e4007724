"""The interface between GFLHead and its assigner."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from ..coders import DistanceBBoxCoder
from ..ops.box_geometry import centers
from ..structures.grid import Grid
from ..structures.ground_truths import GroundTruths
from ..structures.positives import Positives
from ..structures.valid_regions import ValidRegions


@dataclass(frozen=True)
class Predictions:
    """The network's outputs for a batch, for assigners that use them. Each method computes its result when called."""

    cls_scores: Sequence[Tensor]  # L maps (B, C, H, W) of class logits
    bbox_preds: Sequence[Tensor]  # L maps (B, encode_size, H, W) of box outputs
    coder: DistanceBBoxCoder  # decodes bbox_preds

    def logits(self, image: int) -> Tensor:
        """Collect the class logits of one image.

        Args:
            image: index in the batch.

        Returns:
            (A, C) fp32, one row per prior, without gradient.
        """
        return _rows(self.cls_scores, image)

    def boxes(self, image: int, priors: Tensor, strides: Tensor) -> Tensor:
        """Decode the predicted boxes of one image.

        Args:
            image: index in the batch.
            priors: (A, 4) prior boxes in pixels.
            strides: (A,) stride of each prior's level in pixels.

        Returns:
            (A, 4) x1, y1, x2, y2 in pixels, without gradient.
        """
        return self.coder.decode(centers(priors), _rows(self.bbox_preds, image), stride=strides)


def _rows(maps: Sequence[Tensor], image: int) -> Tensor:
    return torch.cat([level[image].detach().flatten(1).t() for level in maps]).float()


@dataclass(frozen=True)
class BatchAssignment:
    """The result of an assigner for a batch."""

    positives: Positives
    # L maps (B, H, W) bool, locations that are ignored in training (neither positive nor negative); None for none.
    ignored: Sequence[Tensor] | None = None


class BatchAssigner(Protocol):
    """Assigns objects to locations, for a whole batch.

    ``GFLHead`` accepts any registered class with this method as ``train_cfg.assigner``.
    """

    def assign_batch(
        self,
        ground_truths: GroundTruths,
        ignored: GroundTruths | None,
        grid: Grid,
        valid_regions: ValidRegions,
        predictions: Predictions | None,
    ) -> BatchAssignment:
        """Assign all objects of a batch.

        Args:
            ground_truths: the objects, image after image. Degenerate ones (``ground_truths.empty``) must not be
                assigned.
            ignored: regions of each image to ignore in training, or None.
            grid: locations and priors of the pyramid.
            valid_regions: the locations that belong to each image; only these may be assigned.
            predictions: the network's outputs. GFLHead always gives them; without a network, as in data checks, they
                are None.

        Returns:
            Positives, with each location at most once per image, and the locations that are ignored in training.

        Raises:
            ValueError: if predictions is None, by an assigner that needs them.
        """
        ...
