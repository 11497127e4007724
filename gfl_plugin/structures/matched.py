"""Predictions and their objects at the positives of a batch."""

from __future__ import annotations

from dataclasses import dataclass, replace

from torch import Tensor


@dataclass(frozen=True)
class Matched:
    """Predictions and targets at the positives, in strides of each one's level, fp32."""

    distance: Tensor  # (P, 4) from the location to the object's left, top, right and bottom side
    predicted: Tensor  # (P, 4) predicted box x1, y1, x2, y2
    target: Tensor  # (P, 4) the object's box
    score: Tensor  # (P,) highest class score, in [0, 1], without gradient
    raw: Tensor | None = None  # (P, encode_size) the network's box numbers
    label: Tensor | None = None  # (P,) class of the object, int64
    active: Tensor | None = None  # (P,) bool, False for rows that are no positives
    classes: int = 0  # number of classes

    def detached(self) -> Matched:
        """The same values without gradients.

        Returns:
            A copy whose tensors are detached.
        """
        raw = None if self.raw is None else self.raw.detach()
        return replace(self, predicted=self.predicted.detach(), raw=raw)
