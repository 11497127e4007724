"""Targets of the class scores of a batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from .positives import Positives


@dataclass(frozen=True)
class ClassTargets:
    """Targets of a class loss: sparse for objects, and implicitly 0 everywhere else."""

    positives: Positives  # the locations with an object
    label: Tensor  # (P,) class of each, int64
    quality: Tensor  # (P,) quality target of each, in [0, 1], fp32
    avg_factor: Tensor  # scalar by which sums are divided, fp32
    weights: Sequence[Tensor] | None = None  # L maps (B, H, W) fp32, weights of locations; None for 1 everywhere
