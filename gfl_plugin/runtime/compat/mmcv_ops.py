"""mmcv without compiled ops: MMDetection cannot be imported without ``mmcv._ext``.

A stand-in is provided whose ``nms`` and ``softnms`` are exact; every other op raises an error that says what to
install. A compiled ``mmcv._ext`` is left alone.

Versions: mmcv-lite 2.x, and builds of mmcv without ops. Can go when MMDetection imports ops where it uses them.
"""

from __future__ import annotations

import functools
import importlib.util
import sys
from collections.abc import Callable
from importlib.machinery import ModuleSpec
from types import ModuleType

import torch
from torch import Tensor

from ...ops.nms import nms as exact_nms
from ...ops.nms import pairwise_iou


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


def close() -> str:
    if "mmcv._ext" in sys.modules or importlib.util.find_spec("mmcv._ext") is not None:
        return ""
    ops = _OpsStandIn("mmcv._ext", "Stand-in of gfl_plugin for mmcv's compiled ops.")
    ops.__spec__ = ModuleSpec("mmcv._ext", loader=None, origin=__file__)
    ops.nms = nms
    ops.softnms = softnms
    sys.modules["mmcv._ext"] = ops
    return "mmcv has no compiled ops: NMS is the plugin's own, other compiled ops raise an error"


def nms(boxes: Tensor, scores: Tensor, iou_threshold: float, offset: int = 0) -> Tensor:
    """Greedy non-maximum suppression, exactly as mmcv's compiled op; see :func:`gfl_plugin.ops.nms.nms`."""
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
