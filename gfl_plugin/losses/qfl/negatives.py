"""Which pass is taken, and what all of them take and give."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ...ops.backend import installed
from ...ops.host_values import on_host


@dataclass(frozen=True)
class Negatives:
    """What a pass works on."""

    logits: Sequence[Tensor]  # L maps (B, C, H, W), contiguous, of one float dtype
    wanted: Sequence[bool]  # whether each level's gradient is asked for
    scale: Tensor  # scalar fp32 that sums and gradients are multiplied by
    beta: float  # >= 0
    weights: Sequence[Tensor] | None = None  # L maps (B, H, W) fp32, contiguous; None for 1 everywhere

    @property
    def gradient_dtype(self) -> torch.dtype:
        """fp16 cannot hold a gradient that the loss scale has not reached yet; it comes in backward."""
        dtype = self.logits[0].dtype
        return torch.float32 if dtype == torch.float16 else dtype


# A pass gives (L,) scale * sum of the losses, fp32; and for each level its gradient times scale, flat and with one
# element more than the level, whose value means nothing: what should change no element can be written there.
Result = tuple[Tensor, list[Tensor | None]]


def negatives(work: Negatives) -> Result:
    """Loss and gradient by the fastest pass there is for this device and dtype.

    What torch.compile traces are PyTorch's own operations, which its compiler joins.
    """
    first = work.logits[0]
    if on_host(first) and first.dtype == torch.float32 and installed("numba"):
        from .numba_cpu import sweep
    elif first.device.type == "cuda" and installed("triton") and not torch.compiler.is_compiling():
        from .triton_gpu import sweep
    else:
        from .eager import sweep
    return sweep(work)
