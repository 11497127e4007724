"""What the class scores of a batch should learn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from .positives import Positives


@dataclass(frozen=True)
class ClassTargets:
    """What the class scores of a batch should learn."""

    positives: Positives  # the locations with an object
    label: Tensor  # (P,) its class
    quality: Tensor  # (P,) what is learned as its quality, in [0, 1]
    avg_factor: Tensor  # scalar that sums are divided by
    weights: Sequence[Tensor] | None  # L maps (B, H, W) of weights of locations, or None for 1 everywhere
