r"""Gives objects with too few positives their best candidates, so that every object is learned.

ATSS leaves an object without a positive if no candidate's center lies inside it (objects smaller than the finest
stride), if none reaches the threshold, or if other objects of higher IoU get all of them. Faster R-CNN has the same
exception to its IoU threshold (Ren et al., arXiv 1506.01497, Section 3.1.2, condition i).

The rule, for a minimum of k positives per object:

1. An object with an area and fewer than k positives asks for its best open candidate: the one of highest IoU, of equal
   IoUs the one of nearest center, of equally near ones the first prior.
2. A candidate is open if it overlaps the object (IoU > 0), belongs to the image, is not in an ignored region, and is
   not positive, or is positive for another object that has more than k positives.
3. A free prior goes to one of the objects that ask for it. An object with more than k positives gives up one of them
   at a time, to one of the objects that ask for any of them. Each time, this is the object that overlaps the prior it
   asks for most, of equal IoUs the one of nearest center, of equally near ones the first object.
4. The objects that still have fewer than k positives ask again, until none has an open candidate.

The IoU of equal priors decreases with the horizontal and with the vertical distance from the object's center. The best
prior of each level is therefore the nearest one, which is a candidate for any ``topk``: with k = 1, an object that no
other one competes with gets the best of all priors. Nothing but the candidates is searched: O(G·L·topk) per round.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..ops.host_values import on_host
from ..structures.ground_truths import GroundTruths
from .candidates import IGNORED, Candidates

# Rounds in excess of k where the host cannot read whether objects still ask: on a GPU, and in programs that
# torch.compile records. An object loses one round to each object that overlaps its best open prior more.
LOST_ROUNDS = 7


def give_best_priors(
    truths: GroundTruths, candidates: Candidates, positive: Tensor, min_positives: int, num_priors: int
) -> Tensor:
    """Give each object with fewer than ``min_positives`` positives its best open candidates, see the module.

    On a CPU there are as many rounds as objects ask for. On a GPU there are at most k + ``LOST_ROUNDS``, without
    synchronization with the host.

    Args:
        truths: the objects.
        candidates: their candidates.
        positive: (G, M) bool, candidates that are positive; each prior of an image is positive for one object at most.
        min_positives: k, >= 1.
        num_priors: A, of one image.

    Returns:
        (G, M) bool, candidates that are positive now.
    """
    few = (positive.sum(dim=1) < min_positives) & ~truths.empty
    if on_host(positive):
        needy = few.nonzero().squeeze(1)
        rounds = len(truths) * min_positives if len(needy) else 0
    else:
        needy = torch.arange(len(few), device=few.device)
        rounds = min(max(truths.counts, default=0) * min_positives, min_positives + LOST_ROUNDS)
    if not rounds:
        return positive
    slots = truths.image[:, None] * num_priors + candidates.prior  # (G, M) number of the prior in the batch
    holders = _Holders.of(slots, positive, len(truths.counts) * num_priors)
    asking = _Asking.of(needy, few, candidates, slots)
    for _ in range(rounds):
        if not _round(holders, asking, min_positives):
            break
    objects = torch.arange(len(few), device=few.device)[:, None]
    return candidates.valid & (holders.of_prior[slots] == objects)


@dataclass(frozen=True)
class _Holders:
    """Which object each prior is positive for. A round changes the tensors in place."""

    of_prior: Tensor  # (B·A + 1,) int64 row of the object, -1 for none; other priors than candidates' are undefined
    count: Tensor  # (G + 1,) int64 positives of each object
    # The last elements are written where a row has nothing to write.

    @staticmethod
    def of(slots: Tensor, positive: Tensor, num_slots: int) -> _Holders:
        """From (G, M) numbers of priors and whether they are positive; ``num_slots`` is B·A."""
        objects = torch.arange(len(slots), device=slots.device)[:, None].expand_as(slots)
        of_prior = slots.new_empty(num_slots + 1)
        of_prior[slots] = -1
        of_prior[-1] = -1
        of_prior[torch.where(positive, slots, num_slots)] = objects
        return _Holders(of_prior, torch.cat([positive.sum(dim=1), slots.new_zeros(1)]))


@dataclass(frozen=True)
class _Asking:
    """The objects that may ask, and what they prefer."""

    object: Tensor  # (N,) rows of GroundTruths, int64
    may_ask: Tensor  # (N,) bool
    slots: Tensor  # (N, M) number of the prior in the batch
    rank: Tensor  # (N, M) int64, higher for better candidates; -1 for those that are never given

    @staticmethod
    def of(needy: Tensor, few: Tensor, candidates: Candidates, slots: Tensor) -> _Asking:
        """The rows ``needy`` (N,) of the candidates; ``few`` (G,) bool."""
        iou, distance = candidates.iou[needy], candidates.distance[needy]
        given = candidates.valid[needy] & (iou > 0) & (distance < IGNORED)
        # Floats >= 0 have the same order as their bits: one integer ranks by IoU, then by distance.
        nearness = torch.iinfo(torch.int32).max - distance.contiguous().view(torch.int32).long()
        rank = (iou.contiguous().view(torch.int32).long() << 32) + nearness
        return _Asking(needy, few[needy], slots[needy], torch.where(given, rank, -1))


def _round(holders: _Holders, asking: _Asking, k: int) -> bool:
    """Let each object ask for one prior.

    Returns:
        Whether a prior was given; True where the host cannot read it.
    """
    spare_prior, spare_object = len(holders.of_prior) - 1, len(holders.count) - 1
    asks = asking.may_ask & (holders.count[asking.object] < k)
    holder = holders.of_prior[asking.slots]
    is_open = (holder < 0) | (holders.count[holder] > k)
    rank = torch.where(is_open & asks[:, None], asking.rank, -1)
    best = rank.amax(dim=1)
    asks = best >= 0
    if on_host(asks) and not asks.any():
        return False
    prior = torch.where(rank == best[:, None], asking.slots, spare_prior).amin(dim=1)
    prior = torch.where(asks, prior, spare_prior)
    previous = holders.of_prior[prior]
    taken = previous >= 0
    # Objects compete for a free prior, or for one of the priors of an object.
    target = torch.where(taken, len(holders.of_prior) + previous, prior)
    wins = asks & _first_of_best(target, best, asking.object, len(holders.of_prior) + spare_object)
    holders.of_prior[torch.where(wins, prior, spare_prior)] = torch.where(wins, asking.object, -1)
    holders.count.index_add_(0, asking.object, wins.long())
    holders.count.index_add_(0, torch.where(taken, previous, spare_object), -(wins & taken).long())
    return True


def _first_of_best(target: Tensor, rank: Tensor, objects: Tensor, num_targets: int) -> Tensor:
    """(N,) bool: whether a row has the highest rank of its target, and of equal ones the first object."""
    highest = rank.new_empty(num_targets)
    highest[target] = -1
    highest.scatter_reduce_(0, target, rank, "amax")
    is_highest = rank == highest[target]
    last = torch.iinfo(torch.int64).max
    first = objects.new_empty(num_targets)
    first[target] = last
    first.scatter_reduce_(0, target, torch.where(is_highest, objects, last), "amin")
    return is_highest & (objects == first[target])
