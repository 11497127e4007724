"""Weights of positives in the box losses of a head with a joint score."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ..structures.matched import Matched
from .measures import iou


def score(matched: Matched) -> Tensor:
    """The highest class score, as in GFL's own code: boxes are learned as fast as scores are.

    Args:
        matched: positives with their objects.

    Returns:
        (P,) in [0, 1].
    """
    return matched.score


def one(matched: Matched) -> Tensor:
    """The same weight for all positives.

    Args:
        matched: positives with their objects.

    Returns:
        (P,) ones.
    """
    return torch.ones_like(matched.score)


def balanced(matched: Matched) -> Tensor:
    r"""The highest class score, scaled so that each class has the same mean over the positives of this worker's batch.

    .. math:: w_z = s_z \frac{\bar s}{\bar s_c}

    :math:`\bar s` is the mean score of all positives, :math:`\bar s_c` that of the positives of z's class. With weights
    by score alone, a class whose scores are still low has almost no part in the box losses, and its boxes stay bad.
    Here each class has the part of its number of positives; within a class, scores weight as usual. Where only one
    class has positives, the weights are the scores.

    Args:
        matched: positives with their objects, and ``label``, ``active`` and ``classes``.

    Returns:
        (P,) >= 0; their sum is that of the scores, unless all scores of a class are 0.
    """
    rows = torch.stack([matched.score, torch.ones_like(matched.score)], dim=1).double()
    rows = torch.where(matched.active[:, None], rows, 0.0)
    sums = rows.new_zeros(matched.classes, 2).index_add(0, matched.label, rows)
    total, count = torch.cat([sums, sums.sum(dim=0, keepdim=True)]).unbind(dim=1)
    mean = (total / count.clamp(min=1)).clamp(min=torch.finfo(torch.float32).tiny)
    return matched.score * (mean[-1] / mean[:-1]).float()[matched.label]


BOX_WEIGHTS: dict[str, Callable[[Matched], Tensor]] = {
    "score": score,
    "balanced": balanced,
    "iou": iou,
    "one": one,
}


def box_weight_named(name: str) -> Callable[[Matched], Tensor]:
    """Look up a weight.

    Args:
        name: "score", "balanced", "iou" or "one".

    Returns:
        The function that computes it.

    Raises:
        ValueError: for another name.
    """
    if name not in tuple(BOX_WEIGHTS):  # a list in place of a name cannot be a key
        raise ValueError(f"box_weight is {name!r}; it must be one of {', '.join(map(repr, BOX_WEIGHTS))}")
    return BOX_WEIGHTS[name]
