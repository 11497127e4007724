"""The assignment of ATSS for a batch, before and after conflicts between objects are resolved."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..ops.backend import Kernels
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
        candidates = self.candidates
        resolve = _WON.for_tensor(candidates.iou)
        return resolve(self.selected, candidates.prior, candidates.iou, self.truths, self.num_priors)

    def positives(self, grid: Grid, compact: bool | None = None) -> Positives:
        """Collect the positives, level by level.

        Args:
            grid: the grid of the candidates.
            compact: True for one row per positive, False for one row per candidate, most of them inactive. None is True
                on a CPU only, because counting positives synchronizes the host with the GPU.

        Returns:
            The positives.
        """
        compact = on_host(self.selected) if compact is None else compact
        collect = _LISTED.for_tensor(self.candidates.iou) if compact else _every_candidate
        return collect(self.positive, self.candidates.prior, self.candidates.counts, self.truths, grid)


def _won(selected: Tensor, prior: Tensor, iou: Tensor, truths: GroundTruths, num_priors: int) -> Tensor:
    """:attr:`ATSSAssignment.won` in PyTorch operations."""
    slots = (truths.image[:, None] * num_priors + prior).reshape(-1)
    # Floats >= 0 have the same order as their bits: one integer ranks by IoU, then by object. The bits of a negative
    # number, such as a generalized IoU, increase with its magnitude, so they are inverted.
    bits = (iou + 0.0).view(torch.int32)  # -0 + 0 = 0
    bits = torch.where(bits < 0, bits ^ 0x7FFFFFFF, bits)
    rank = len(iou) - torch.arange(len(iou), device=iou.device)[:, None]
    lowest = torch.iinfo(torch.int64).min
    ranks = torch.where(selected, (bits.long() << 32) + rank, lowest).reshape(-1)
    best = ranks.new_empty(len(truths.counts) * num_priors)
    best[slots] = lowest  # the other elements are not read
    best.scatter_reduce_(0, slots, ranks, "amax")
    return selected & (ranks == best[slots]).view_as(iou)


def _positive_candidates(
    positive: Tensor, prior: Tensor, counts: Sequence[int], truths: GroundTruths, grid: Grid
) -> Positives:
    """One row per positive, in PyTorch operations."""
    # Rows are sorted by object in each level, since the priors of one object are adjacent in memory.
    found = [own.nonzero(as_tuple=True) for own in positive.split_with_sizes(counts, dim=1)]
    chosen = torch.cat([row for row, _ in found])
    prior = torch.cat([own[index] for own, index in zip(prior.split_with_sizes(counts, dim=1), found)])
    active = torch.ones_like(chosen, dtype=torch.bool)
    return _of_rows(prior, chosen, active, [len(row) for row, _ in found], truths, grid)


def _every_candidate(
    positive: Tensor, prior: Tensor, counts: Sequence[int], truths: GroundTruths, grid: Grid
) -> Positives:
    """One row per candidate, active if it is positive."""
    objects = torch.arange(len(positive), device=positive.device)[:, None]
    priors = prior.split_with_sizes(counts, dim=1)
    chosen = torch.cat([objects.expand_as(own).reshape(-1) for own in priors])
    active = torch.cat([own.reshape(-1) for own in positive.split_with_sizes(counts, dim=1)])
    rows = [len(positive) * count for count in counts]
    return _of_rows(torch.cat([own.reshape(-1) for own in priors]), chosen, active, rows, truths, grid)


def _of_rows(
    prior: Tensor, chosen: Tensor, active: Tensor, counts: Sequence[int], truths: GroundTruths, grid: Grid
) -> Positives:
    level = torch.cat([chosen.new_full((count,), number) for number, count in enumerate(counts)])
    return Positives(
        image=truths.image[chosen],
        level=level,
        location=prior - grid.start[level],
        gt_index=chosen,
        active=active,
        counts=tuple(counts),
    )


_WON = Kernels(torch=_won, numba="gfl_plugin.assigners.positives_numba:won")
_LISTED = Kernels(torch=_positive_candidates, numba="gfl_plugin.assigners.positives_numba:listed")
