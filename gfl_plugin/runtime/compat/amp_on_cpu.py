"""``AmpOptimWrapper`` on a CPU.

Problem: MMEngine's AmpOptimWrapper raises an error without an accelerator, although autocast supports bf16 on a CPU.
Versions: MMEngine <= 0.10.7.
Change: without an accelerator, its check for CUDA passes, and its gradient scaler, which bf16 does not need, is off.
Not needed when: AmpOptimWrapper accepts a CPU.
"""

from __future__ import annotations

import torch


def close() -> str:
    """Let AmpOptimWrapper accept a CPU.

    Returns:
        What was changed; "" with an accelerator.
    """
    from mmengine.device import get_device
    from mmengine.optim.optimizer import amp_optimizer_wrapper

    if get_device() != "cpu":
        return ""

    def unscaled(**settings: object) -> object:
        scaler = getattr(torch.amp, "GradScaler", None)  # new in PyTorch 2.3
        return torch.cuda.amp.GradScaler(enabled=False) if scaler is None else scaler("cpu", enabled=False)

    amp_optimizer_wrapper.is_cuda_available = lambda: True
    amp_optimizer_wrapper.GradScaler = unscaled
    return "AmpOptimWrapper works on a CPU, in bf16"
