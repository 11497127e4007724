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


BOX_WEIGHTS: dict[str, Callable[[Matched], Tensor]] = {"score": score, "iou": iou, "one": one}


def box_weight_named(name: str) -> Callable[[Matched], Tensor]:
    """Look up a weight.

    Args:
        name: "score", "iou" or "one".

    Returns:
        The function that computes it.

    Raises:
        ValueError: for another name.
    """
    if name not in BOX_WEIGHTS:
        raise ValueError(f"box_weight is {name!r}; it must be one of {', '.join(map(repr, BOX_WEIGHTS))}")
    return BOX_WEIGHTS[name]
