"""What MMDetection needs before it can run on a new PyTorch, or on an mmcv without compiled ops.

Five gaps are closed, each only where it exists:

* ``mmcv-lite`` has no ``mmcv._ext``, and MMDetection cannot be imported without that module. A stand-in
  is provided whose ``nms`` and ``softnms`` are exact; every other op raises an error that says what to
  install. A compiled ``mmcv._ext`` is left alone.
* PyTorch 2.6 made ``torch.load`` refuse all but listed classes. MMEngine's own checkpoints carry its
  ``HistoryBuffer`` and NumPy arrays; those are listed, and ``weights_only`` stays on.
* In MMDetection 3.3.0 an SSD head trains and cannot predict: it is asked for a ``loss_cls`` it never had
  (open-mmlab/mmdetection#11780). It gets one that is None.
* MMEngine's ``AmpOptimWrapper`` refuses to work without an accelerator, though its autocast knows a CPU's bf16. It is
  let in; its gradient scaler, which bf16 does not need, is off there.
* MMEngine's ``pytorch`` launcher and its data-parallel wrapper take a GPU a process for granted. Without one they
  use gloo and no device number.

Of this package it imports NMS alone, which needs nothing of MMDetection's, so that it can run before anything of
MMDetection's is imported.
"""

from __future__ import annotations

import atexit
import functools
import importlib.util
import sys
import time
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Callable

import torch
from torch import Tensor

from .nms import nms as exact_nms
from .nms import pairwise_iou

_prepared: list[str] | None = None


def prepare() -> list[str]:
    """Close the gaps this environment has; a second call does nothing.

    Returns:
        One sentence for each gap that was closed, in order.
    """
    global _prepared
    if _prepared is None:
        done = [_provide_mmcv_ops(), _allow_mmengine_checkpoints(), _let_ssd_predict()]
        done += [_allow_amp_on_cpu(), _allow_workers_on_cpu()]
        _prepared = [sentence for sentence in done if sentence]
        if _prepared:
            from mmengine.logging import print_log

            print_log("gfl_plugin: " + "; ".join(_prepared), logger="current")
    return _prepared


# ---------------------------------------------------------------------------------------------------
# mmcv without compiled ops
# ---------------------------------------------------------------------------------------------------


class _OpsStandIn(ModuleType):
    """``mmcv._ext`` for an mmcv that has none: NMS works, any other op says what to install."""

    def __getattr__(self, name: str) -> Callable:
        # mmcv asks hasattr() for each op when it is imported, so an op must exist until it is called.
        if name.startswith("__"):
            raise AttributeError(name)

        def missing(*args: object, **kwargs: object) -> None:
            raise NotImplementedError(
                f"This model calls the compiled op '{name}', and the installed mmcv has no compiled ops "
                "(mmcv-lite, or a build without them). Install compiled mmcv in its place: "
                "pip uninstall -y mmcv-lite && pip install 'mmcv>=2.0.0,<2.2.0'"
            )

        missing.__name__ = name
        return missing


def _provide_mmcv_ops() -> str:
    if "mmcv._ext" in sys.modules or importlib.util.find_spec("mmcv._ext") is not None:
        return ""
    ops = _OpsStandIn("mmcv._ext", "Stand-in of gfl_plugin for mmcv's compiled ops.")
    ops.__spec__ = ModuleSpec("mmcv._ext", loader=None, origin=__file__)
    ops.nms = nms
    ops.softnms = softnms
    sys.modules["mmcv._ext"] = ops
    return "mmcv has no compiled ops: NMS is the plugin's own, other compiled ops raise an error"


def nms(boxes: Tensor, scores: Tensor, iou_threshold: float, offset: int = 0) -> Tensor:
    """Greedy non-maximum suppression, exactly as mmcv's compiled op; see :func:`gfl_plugin.nms.nms`."""
    if offset == 0 and boxes.numel() and (torchvision_nms := _torchvision_nms()) is not None:
        return torchvision_nms(boxes, scores, iou_threshold)
    return exact_nms(boxes, scores, iou_threshold, offset)


@functools.lru_cache(maxsize=1)
def _torchvision_nms() -> Callable[[Tensor, Tensor, float], Tensor] | None:
    """torchvision's compiled NMS where a torchvision that fits this torch is installed, else None."""
    try:
        from torchvision.ops import nms as compiled
    except (ImportError, RuntimeError):  # a torchvision built for another torch fails at registration
        return None
    return compiled


def softnms(
    boxes: Tensor,
    scores: Tensor,
    dets: Tensor,
    iou_threshold: float,
    sigma: float,
    min_score: float,
    method: int,
    offset: int,
) -> Tensor:
    """Soft-NMS (Bodla et al., arXiv 1704.04503), as mmcv's compiled op.

    Args:
        boxes: (N, 4), x1, y1, x2, y2, on the CPU.
        scores: (N,).
        dets: (N, 5); its first rows are overwritten with the kept boxes and their new scores.
        iou_threshold: overlap from which methods 0 and 1 act.
        sigma: width of method 2's Gaussian.
        min_score: boxes whose score falls below it are dropped.
        method: 0 sets the score to 0, 1 multiplies it by 1 - IoU, 2 by exp(-IoU² / sigma).
        offset: added to widths and heights, 0 or 1.

    Returns:
        Indices of the kept boxes by descending new score, int64.
    """
    scores = scores.clone()
    remaining = torch.arange(len(boxes))
    sides = boxes[:, 2:] - boxes[:, :2] + offset
    areas = sides[:, 0] * sides[:, 1]
    kept: list[int] = []
    while len(remaining):
        best = remaining[scores[remaining].argmax()]
        dets[len(kept), :4] = boxes[best]
        dets[len(kept), 4] = scores[best]
        kept.append(int(best))
        remaining = remaining[remaining != best]
        ious = pairwise_iou(boxes[best][None], areas[best][None], boxes[remaining], areas[remaining], offset).squeeze(0)
        if method == 2:
            decay = torch.exp(-(ious * ious) / sigma)
        else:
            decay = torch.where(ious >= iou_threshold, 1 - ious if method == 1 else 0.0, 1.0)
        scores[remaining] *= decay
        remaining = remaining[~(scores[remaining] < min_score)]
    return torch.tensor(kept, dtype=torch.int64)


# ---------------------------------------------------------------------------------------------------
# MMEngine's checkpoints under weights_only
# ---------------------------------------------------------------------------------------------------


def _history_statistic(owner: object, name: str) -> Callable:
    """What ``getattr`` means inside a checkpoint: one of HistoryBuffer's statistics."""
    from mmengine.logging import HistoryBuffer

    if owner is not HistoryBuffer or name not in ("min", "max", "current", "mean"):
        raise ValueError(f"the checkpoint asks for attribute {name!r} of {owner!r}, which is refused")
    return getattr(HistoryBuffer, name)


def _allow_mmengine_checkpoints() -> str:
    if torch.torch_version.TorchVersion(torch.__version__) < (2, 6):  # loads everything by default
        return ""
    import numpy as np
    from mmengine.logging import HistoryBuffer

    add_safe_globals = torch.serialization.add_safe_globals
    multiarray = np._core.multiarray if hasattr(np, "_core") else np.core.multiarray
    dtypes = {type(np.dtype(code)) for code in ("?", "b", "B", "h", "H", "i", "I", "l", "L", "q", "Q", "e", "f", "d")}
    add_safe_globals([HistoryBuffer, np.ndarray, np.dtype, *sorted(dtypes, key=lambda kind: kind.__name__)])
    # NumPy 1 and NumPy 2 write the same two functions under different module names; checkpoints of both exist.
    add_safe_globals(
        [
            (getattr(multiarray, name), f"{module}.multiarray.{name}")
            for module in ("numpy.core", "numpy._core")
            for name in ("_reconstruct", "scalar")
        ]
    )
    # A HistoryBuffer is written with its statistics, each as getattr(HistoryBuffer, name). The real getattr would be a
    # way out of weights_only; this one knows nothing else.
    add_safe_globals([(_history_statistic, f"{module}.getattr") for module in ("builtins", "__builtin__")])
    return "MMEngine's HistoryBuffer and NumPy arrays may be loaded with weights_only"


# ---------------------------------------------------------------------------------------------------
# SSD's prediction
# ---------------------------------------------------------------------------------------------------


def _let_ssd_predict() -> str:
    from mmdet.models.dense_heads import SSDHead

    plain = SSDHead.__init__

    @functools.wraps(plain)
    def with_loss_cls(self: SSDHead, *args: object, **kwargs: object) -> None:
        plain(self, *args, **kwargs)
        if not hasattr(self, "loss_cls"):
            self.loss_cls = None

    SSDHead.__init__ = with_loss_cls
    return "SSDHead has the loss_cls that its prediction asks for"


# ---------------------------------------------------------------------------------------------------
# Mixed precision on a CPU
# ---------------------------------------------------------------------------------------------------


def _allow_amp_on_cpu() -> str:
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


# ---------------------------------------------------------------------------------------------------
# Several processes on a CPU
# ---------------------------------------------------------------------------------------------------


def _allow_workers_on_cpu() -> str:
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
