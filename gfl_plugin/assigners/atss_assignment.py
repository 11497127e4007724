"""The assignment of ATSS for a batch, before and after conflicts between objects are resolved."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..ops.host_values import on_host
from ..structures.grid import Grid
from ..structures.ground_truths import GroundTruths
from ..structures.positives import Positives
from .best_priors import give_best_priors
from .candidates import Candidates


@dataclass(frozen=True)
class ATSSAssignment:
    """Candidates, thresholds and positives of a batch. Assigner hooks receive it and may replace it."""

    truths: GroundTruths
    candidates: Candidates
    threshold: Tensor  # (G,) minimum IoU of a positive candidate, fp64
    selected: Tensor  # (G, M) bool, candidates that reach the threshold and have their center inside the object
    num_priors: int  # A, of one image
    min_positives: int = 0  # an object with fewer positives gets its best candidates, see best_priors

    def with_threshold(self, threshold: Tensor) -> ATSSAssignment:
        """Create an assignment with other thresholds.

        Args:
            threshold: (G,) minimum IoU of a positive candidate.

        Returns:
            A new assignment; this one is unchanged.
        """
        candidates = self.candidates
        reached = candidates.iou.double() >= threshold[:, None]
        return replace(self, threshold=threshold, selected=reached & candidates.inside & candidates.valid)

    @property
    def positive(self) -> Tensor:
        """(G, M) bool: :attr:`won`, and the candidates that objects with too few of them are given."""
        won = self.won
        if not self.min_positives:
            return won
        return give_best_priors(self.truths, self.candidates, won, self.min_positives, self.num_priors)

    @property
    def won(self) -> Tensor:
        """(G, M) bool: ``selected``, with each prior assigned to one object only.

        A prior that several objects select is assigned to the object with the highest IoU, and for equal IoUs to the
        first object.
        """
        iou = self.candidates.iou
        slots = (self.truths.image[:, None] * self.num_priors + self.candidates.prior).reshape(-1)
        # Floats >= 0 have the same order as their bits: one integer ranks by IoU, then by object.
        rank = len(iou) - torch.arange(len(iou), device=iou.device)[:, None]
        ranks = torch.where(self.selected, (iou.view(torch.int32).long() << 32) + rank, 0).reshape(-1)
        best = ranks.new_empty(len(self.truths.counts) * self.num_priors)
        best[slots] = 0  # the other elements are not read
        best.scatter_reduce_(0, slots, ranks, "amax")
        return self.selected & (ranks == best[slots]).view_as(iou)

    def positives(self, grid: Grid, compact: bool | None = None) -> Positives:
        """Collect the positives, level by level.

        Args:
            grid: the grid of the candidates.
            compact: True for one row per positive, False for one row per candidate, most of them inactive. None is True
                on a CPU only, because counting positives synchronizes the host with the GPU.

        Returns:
            The positives.
        """
        candidates, device = self.candidates, self.selected.device
        positive = self.positive.split_with_sizes(candidates.counts, dim=1)
        prior = candidates.prior.split_with_sizes(candidates.counts, dim=1)
        # Rows are sorted by object in each level, since the priors of one object are adjacent in memory.
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
