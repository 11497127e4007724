"""MMEngine's ``pytorch`` launcher and its data-parallel wrapper take a GPU per process for granted.

Without one they use gloo and no device number.

Versions: MMEngine <= 0.10.7. Can go when both accept a CPU.
"""

from __future__ import annotations

import atexit
import functools
import time

import torch


def close() -> str:
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
        # A thread of gloo's may still hold the last exchange's tensors. To let go of them it needs Python's lock, which
        # sleeping lends; where it asks when the interpreter has begun to end, the process is aborted.
        time.sleep(0.1)

    utils._init_dist_pytorch = init
    plain = MMDistributedDataParallel.__init__

    @functools.wraps(plain)
    def without_device(self: object, *args: object, device_ids: object = None, **kwargs: object) -> None:
        plain(self, *args, **kwargs)

    MMDistributedDataParallel.__init__ = without_device
    return "several processes may train on a CPU, by gloo"
