"""MMEngine's ``AmpOptimWrapper`` refuses to work without an accelerator, though its autocast knows a CPU's bf16.

It is let in; its gradient scaler, which bf16 does not need, is off there.

Versions: MMEngine <= 0.10.7. Can go when ``AmpOptimWrapper`` accepts a CPU.
"""

from __future__ import annotations

import torch


def close() -> str:
    from mmengine.device import get_device
    from mmengine.optim.optimizer import amp_optimizer_wrapper

    if get_device() != "cpu":
        return ""

    def unscaled(**settings: object) -> object:
        scaler = getattr(torch.amp, "GradScaler", None)  # new in PyTorch 2.3
        return torch.cuda.amp.GradScaler(enabled=False) if scaler is None else scaler("cpu", enabled=False)

    amp_optimizer_wrapper.is_cuda_available = lambda: True
    amp_optimizer_wrapper.GradScaler = unscaled
    return "AmpOptimWrapper may be used on a CPU, in bf16"
