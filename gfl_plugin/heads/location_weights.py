"""Weights of locations in the class loss: padding, ignored regions, ``pos_weight``."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..structures.grid import Grid
from ..structures.positives import Positives
from ..structures.valid_regions import ValidRegions


def location_weights(
    grid: Grid, regions: ValidRegions, ignored: Sequence[Tensor] | None, positives: Positives, positive_weight: float
) -> list[Tensor] | None:
    """Weights of all locations in the class loss.

    Args:
        grid: the locations.
        regions: the locations of each image.
        ignored: L maps (B, H, W) bool, locations that are not trained on; None for none.
        positives: the positives, which have ``positive_weight`` also where they are ignored.
        positive_weight: weight of a positive.

    Returns:
        L maps (B, H, W) fp32: 0 outside an image's region and where ignored, else 1; None for 1 everywhere.
    """
    if ignored is None and positive_weight == 1.0 and regions.whole:
        return None
    weights = regions.masks(grid)
    if ignored is not None:
        weights = [weight * ~blocked for weight, blocked in zip(weights, ignored)]
    if ignored is None and positive_weight == 1.0:
        return list(weights)  # positives lie inside their image's region
    rows = zip(*(positives.per_level(part) for part in (positives.image, positives.location, positives.active)))
    for weight, (image, location, active) in zip(weights, rows):
        flat = weight.flatten(1)
        # Added, not written: an active and an inactive row may share a location.
        change = torch.where(active, positive_weight - flat[image, location], 0.0)
        flat.index_put_((image, location), change, accumulate=True)
    return list(weights)
