"""ATSS's decision for a batch, before and after conflicts between objects are resolved."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..ops.host_values import on_host
from ..structures.grid import Grid
from ..structures.ground_truths import GroundTruths
from ..structures.positives import Positives
from .candidates import Candidates


@dataclass(frozen=True)
class ATSSAssignment:
    """Candidates, thresholds and the resulting positives of a batch: what assigner hooks receive and may replace."""

    truths: GroundTruths
    candidates: Candidates
    threshold: Tensor  # (G,) IoU a candidate must reach, fp64
    selected: Tensor  # (G, M) bool, candidates that reach the threshold and lie inside the object
    num_priors: int  # A, of one image

    def with_threshold(self, threshold: Tensor) -> ATSSAssignment:
        """The assignment with other thresholds.

        Args:
            threshold: (G,) IoU that a candidate must reach.

        Returns:
            A new assignment; this one is unchanged.
        """
        candidates = self.candidates
        reached = candidates.iou.double() >= threshold[:, None]
        return replace(self, threshold=threshold, selected=reached & candidates.inside & candidates.valid)

    @property
    def positive(self) -> Tensor:
        """(G, M) bool: ``selected``, where a prior selected by several objects goes to the one of highest IoU.

        Of equal IoUs the first object's wins.
        """
        iou = self.candidates.iou
        slots = (self.truths.image[:, None] * self.num_priors + self.candidates.prior).reshape(-1)
        # Floats >= 0 are ordered like their bits: one integer ranks by IoU, then by object.
        rank = len(iou) - torch.arange(len(iou), device=iou.device)[:, None]
        ranks = torch.where(self.selected, (iou.view(torch.int32).long() << 32) + rank, 0).reshape(-1)
        best = ranks.new_empty(len(self.truths.counts) * self.num_priors)
        best[slots] = 0  # the rest is never read
        best.scatter_reduce_(0, slots, ranks, "amax")
        return self.selected & (ranks == best[slots]).view_as(iou)

    def positives(self, grid: Grid, compact: bool | None = None) -> Positives:
        """The positives, level after level.

        Args:
            grid: the grid of the candidates.
            compact: whether there is one row per positive; else one per candidate, most of them inactive. None means
                compact on a CPU only, because counting positives makes the host wait for a GPU.

        Returns:
            The positives.
        """
        candidates, device = self.candidates, self.selected.device
        positive = self.positive.split_with_sizes(candidates.counts, dim=1)
        prior = candidates.prior.split_with_sizes(candidates.counts, dim=1)
        # Object after object in each level, as the priors of one lie side by side in memory.
        if on_host(self.selected) if compact is None else compact:
            found = [own.nonzero(as_tuple=True) for own in positive]
            chosen = torch.cat([row for row, _ in found])
            prior = torch.cat([own[index] for own, index in zip(prior, found)])
            active = torch.ones_like(chosen, dtype=torch.bool)
            counts = tuple(len(row) for row, _ in found)
        else:
            objects = torch.arange(len(self.selected), device=device)[:, None]
            chosen = torch.cat([objects.expand_as(own).reshape(-1) for own in prior])
            prior = torch.cat([own.reshape(-1) for own in prior])
            active = torch.cat([own.reshape(-1) for own in positive])
            counts = tuple(len(self.selected) * count for count in candidates.counts)
        level = torch.cat([chosen.new_full((count,), number) for number, count in enumerate(counts)])
        return Positives(
            image=self.truths.image[chosen],
            level=level,
            location=prior - grid.start[level],
            gt_index=chosen,
            active=active,
            counts=counts,
        )
