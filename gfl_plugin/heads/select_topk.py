"""The best class scores of each level of each image, selected on logits before anything is decoded."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

_BLOCK = 128  # logits that are first compared by their maximum only


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
    parts = []
    for number, level in enumerate(logits):
        _, classes, height, width = level.shape
        flat = level.reshape(-1)
        index, logit = _candidates(flat, threshold)
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
    order = by_group(found.score.sort(descending=True, stable=True).indices, groups)
    found = found.rows(order)
    number = logits[0].shape[0] * len(logits)
    return found.rows(_rank(groups[order], number) < limit) if limit > 0 else found


def by_group(order: Tensor, groups: Tensor) -> Tensor:
    """Sort by group and keep the given order within each group.

    Args:
        order: (N,) row indices.
        groups: (N,) group of each row.

    Returns:
        (N,) row indices.
    """
    return order[groups[order].sort(stable=True).indices]


def _candidates(values: Tensor, threshold: float) -> tuple[Tensor, Tensor]:
    """The logits whose sigmoid is above the threshold, and possibly a few more, the same ones in every dtype.

    Args:
        values: (N,) logits of any float dtype.
        threshold: of fp32 scores.

    Returns:
        (M,) indices, ascending, int64; and (M,) their logits, fp32.
    """
    if not 0 < threshold < 1:
        return torch.arange(len(values), device=values.device), values.float()
    bound = _lower_bound(threshold)
    if values.dtype == torch.float32:
        index = _above(values, bound)
        return index, values[index]
    index = _above(values, _below(bound, values.dtype))
    logit = values[index].float()
    # A CPU computes sigmoids in vectors and the remaining elements one by one; the results differ in the last bit.
    # Scores are equal in every dtype only if the same logits are in the same places.
    near = logit > bound
    return index[near], logit[near]


def _lower_bound(threshold: float) -> float:
    """A number below every logit whose fp32 sigmoid is above a threshold in (0, 1)."""
    # Scores are compared with the threshold rounded to fp32, and the sigmoid is off by a few units in the last place
    # of fp32: 6e-8 of its value, or 1e-45 where that is more. Near 1 this is a wide range of logits.
    probability = threshold * (1 - 1e-5) - 1e-38
    return math.log(probability) - math.log1p(-probability) if probability > 0 else -math.inf


def _below(bound: float, dtype: torch.dtype) -> float:
    """A slightly lower bound, which is still one where it, or the logits, are rounded to a dtype or to fp32."""
    coarser = max((torch.finfo(kind) for kind in (dtype, torch.float32)), key=lambda info: info.eps)
    # Numbers around the bound are at most this far apart.
    return bound - coarser.eps * max(abs(bound), coarser.tiny) if math.isfinite(bound) else bound


def _above(values: Tensor, bound: float) -> Tensor:
    """(N,) values -> indices, ascending, of those above the bound."""
    whole = len(values) // _BLOCK * _BLOCK
    # Most blocks have no value above the bound, which their maxima show in one pass that writes little memory. The
    # maximum of a block with a NaN is NaN, so such a block is always searched.
    blocks = values[:whole].view(-1, _BLOCK)
    block = (~(blocks.amax(dim=1) <= bound) if len(blocks) else blocks.new_zeros(0)).nonzero().squeeze(1)
    row, column = (blocks[block] > bound).nonzero(as_tuple=True)
    rest = (values[whole:] > bound).nonzero().squeeze(1) + whole
    return torch.cat([block[row] * _BLOCK + column, rest])


def _divmod(index: Tensor, size: int) -> tuple[Tensor, Tensor]:
    quotient = torch.div(index, size, rounding_mode="floor")
    return quotient, index - quotient * size


def _rank(groups: Tensor, number: int) -> Tensor:
    """(N,) ascending groups below a number -> the place of each row in its group."""
    # No branch and no size depends on values, which torch.export does not have.
    counts = groups.new_zeros(number).index_add_(0, groups, torch.ones_like(groups))
    starts = counts.cumsum(0) - counts
    return torch.arange(groups.shape[0], device=groups.device) - starts[groups]
