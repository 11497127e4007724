"""Memory for large, mostly untouched CPU gradients."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor


def zeros(shape: Sequence[int], dtype: torch.dtype, device: torch.device) -> Tensor:
    """As ``torch.zeros``, without touching the memory on a CPU.

    NumPy asks the kernel for pages that are zero when first read or written, in huge pages where it can.
    ``torch.zeros`` writes all of it at once, in small pages: some ten times the cost for tens of megabytes.
    """
    if device.type != "cpu":
        return torch.zeros(shape, dtype=dtype, device=device)
    size = torch.empty((), dtype=dtype).element_size()
    count = int(np.prod(shape, dtype=np.int64))
    return torch.from_numpy(np.zeros(count * size, dtype=np.uint8)).view(dtype).view(*shape)
