"""The best class scores of each level of each image, selected on logits before anything is decoded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..ops.descending import descending
from .candidate_logits import candidates


@dataclass(frozen=True)
class ScoredLocations:
    """Class scores above the threshold with their places: image after image, level after level, by descending score."""

    image: Tensor  # (N,) int64
    level: Tensor  # (N,) int64
    label: Tensor  # (N,) class, int64
    location: Tensor  # (N,) row-major index in the level's grid, int64
    score: Tensor  # (N,) fp32

    def __len__(self) -> int:
        return len(self.score)

    def rows(self, index: Tensor) -> ScoredLocations:
        """A subset of the rows.

        Args:
            index: (M,) int64 rows, or (N,) bool mask.

        Returns:
            Those rows.
        """
        return ScoredLocations(*(getattr(self, name)[index] for name in self.__dataclass_fields__))

    def gather(self, maps: Sequence[Tensor]) -> Tensor:
        """Values of maps at these locations.

        Args:
            maps: L maps (B, D, H, W) of any float dtype.

        Returns:
            (N, D) fp32.
        """
        found = torch.empty(self.score.shape[0], maps[0].shape[1], device=maps[0].device)
        for number, level_map in enumerate(maps):
            rows = (self.level == number).nonzero().squeeze(1)
            found[rows] = level_map.flatten(2)[self.image[rows], :, self.location[rows]].float()
        return found


def select_topk(logits: Sequence[Tensor], threshold: float, limit: int) -> ScoredLocations:
    """The ``limit`` best scores above a threshold of each level of each image.

    The selection is made on logits, because the sigmoid is monotonic. Of equal scores the one of lower class, then of
    lower location, comes first.

    Args:
        logits: L maps (B, C, H, W) of class logits.
        threshold: scores must be above it.
        limit: maximum per level and image (``nms_pre``); <= 0 for all.

    Returns:
        The selected scores.
    """
    parts, images = [], logits[0].shape[0]
    for number, level in enumerate(logits):
        _, classes, height, width = level.shape
        index, logit = candidates(level.reshape(images, -1), threshold, limit)
        score = logit.sigmoid()
        exactly = score > threshold
        index, score = index[exactly], score[exactly]
        plane, location = _divmod(index, height * width)
        image, label = _divmod(plane, classes)
        parts.append(ScoredLocations(image, torch.full_like(image, number), label, location, score))
    found = ScoredLocations(
        *(torch.cat([getattr(part, name) for part in parts]) for name in ScoredLocations.__dataclass_fields__)
    )
    groups = found.image * len(logits) + found.level
    order = descending(found.score, groups)
    if limit > 0:
        order = order[_rank(groups[order], images * len(logits)) < limit]
    return found.rows(order)


def _divmod(index: Tensor, size: int) -> tuple[Tensor, Tensor]:
    quotient = torch.div(index, size, rounding_mode="floor")
    return quotient, index - quotient * size


def _rank(groups: Tensor, number: int) -> Tensor:
    """(N,) ascending groups below a number -> the place of each row in its group."""
    # No branch and no size depends on values, which torch.export does not have.
    counts = groups.new_zeros(number).index_add_(0, groups, torch.ones_like(groups))
    starts = counts.cumsum(0) - counts
    return torch.arange(groups.shape[0], device=groups.device) - starts[groups]
