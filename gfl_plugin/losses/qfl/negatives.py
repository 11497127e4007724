"""Inputs and outputs of a pass over negatives, the same for all kernels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Negatives:
    """The logits of a pyramid, all of which are negatives."""

    logits: Sequence[Tensor]  # L maps (B, C, H, W), contiguous, of one float dtype
    wanted: Sequence[bool]  # whether each level's gradient is needed
    scale: Tensor  # scalar fp32, the factor of sums and gradients
    beta: float  # exponent of the modulating factor, >= 0
    weights: Sequence[Tensor] | None = None  # L maps (B, H, W) fp32, contiguous; None for 1 everywhere

    @property
    def gradient_dtype(self) -> torch.dtype:
        """The logits' dtype; fp32 for fp16, which cannot hold gradients before backward applies the loss scale."""
        dtype = self.logits[0].dtype
        return torch.float32 if dtype == torch.float16 else dtype


# The output of a pass: (L,) scale * sum of the losses of each level, fp32; and each level's gradient times scale, flat,
# or None. A gradient has one element more than its level, with an undefined value: a scatter writes there what must
# change no element.
Result = tuple[Tensor, list[Tensor | None]]
