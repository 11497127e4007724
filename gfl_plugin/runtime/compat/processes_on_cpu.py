"""Distributed training on a CPU.

Problem: MMEngine's ``pytorch`` launcher and MMDistributedDataParallel require one GPU per process.
Versions: MMEngine <= 0.10.7.
Change: without a GPU, the launcher uses gloo, and the wrapper gets no device ids.
Not needed when: both accept a CPU.
"""

from __future__ import annotations

import atexit
import functools
import time

import torch


def close() -> str:
    """Let the launcher and the wrapper accept a CPU.

    Returns:
        What was changed; "" with an accelerator.
    """
    from mmengine.device import get_device
    from mmengine.dist import utils
    from mmengine.model.wrappers import MMDistributedDataParallel

    if get_device() != "cpu":
        return ""

    def init(backend: str, init_backend: str = "torch", **kwargs: object) -> None:
        torch.distributed.init_process_group(backend="gloo" if backend == "nccl" else backend, **kwargs)
        atexit.register(leave)

    def leave() -> None:
        if torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()
        # A gloo thread may still hold tensors of the last operation. To release them it needs the GIL, which sleep()
        # releases; if it requests the GIL while the interpreter shuts down, the process is aborted.
        time.sleep(0.1)

    utils._init_dist_pytorch = init
    plain = MMDistributedDataParallel.__init__

    @functools.wraps(plain)
    def without_device(self: object, *args: object, device_ids: object = None, **kwargs: object) -> None:
        plain(self, *args, **kwargs)

    MMDistributedDataParallel.__init__ = without_device
    return "several processes can train on a CPU, with gloo"
