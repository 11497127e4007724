"""mmcv without compiled ops.

Problem: MMDetection cannot be imported without ``mmcv._ext``, mmcv's compiled ops.
Versions: mmcv-lite 2.x, and builds of mmcv and onedl-mmcv without ops.
Change: a replacement module ``mmcv._ext`` provides ``nms`` and ``softnms`` with the results of the compiled ops; all
    other ops raise an error that says what to install. A compiled ``mmcv._ext`` is not changed.
Not needed when: MMDetection imports ops where it uses them.
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
from ..distributions import ONEDL, provider


class _OpsStandIn(ModuleType):
    """A replacement of ``mmcv._ext``: NMS works, other ops raise an error that says what to install."""

    def __getattr__(self, name: str) -> Callable:
        # mmcv checks hasattr() for each op when it is imported, so the error must come with the call.
        if name.startswith("__"):
            raise AttributeError(name)

        def missing(*args: object, **kwargs: object) -> None:
            raise NotImplementedError(
                f"This model needs the compiled op '{name}', but the installed mmcv has no compiled ops "
                f"({_installed()}). Install a compiled mmcv instead: {_install_command()}"
            )

        missing.__name__ = name
        return missing


def _installed() -> str:
    """Name and version of the installed mmcv."""
    found = provider("mmcv")
    return "mmcv-lite, or a build without ops" if found is None else f"{found.name} {found.version}"


def _install_command() -> str:
    """The command that installs a compiled mmcv of the installed family."""
    found = provider("mmcv")
    if found is not None and found.name in ONEDL.names["mmcv"]:
        # Its build compiles the ops only if it can import PyTorch; pip's cache may contain a build without ops.
        return (
            f"pip install --no-build-isolation --no-cache-dir --no-deps --force-reinstall {found.name}=={found.version}"
        )
    return f"pip uninstall -y {'mmcv-lite' if found is None else found.name} && pip install 'mmcv>=2.0.0,<2.2.0'"


def are_compiled() -> bool:
    """Whether the installed mmcv has compiled ops.

    Returns:
        False if ``mmcv._ext`` is missing, or is the replacement of this module.
    """
    loaded = sys.modules.get("mmcv._ext")
    if loaded is not None:
        return not isinstance(loaded, _OpsStandIn)
    return importlib.util.find_spec("mmcv._ext") is not None


def close() -> str:
    """Provide ``mmcv._ext`` where mmcv has none.

    Returns:
        What was changed; "" with compiled ops.
    """
    if "mmcv._ext" in sys.modules or importlib.util.find_spec("mmcv._ext") is not None:
        return ""
    ops = _OpsStandIn("mmcv._ext", "Stand-in of gfl_plugin for mmcv's compiled ops.")
    ops.__spec__ = ModuleSpec("mmcv._ext", loader=None, origin=__file__)
    ops.nms = nms
    ops.softnms = softnms
    sys.modules["mmcv._ext"] = ops
    return "mmcv has no compiled ops: NMS is provided, other compiled ops raise an error"


def nms(boxes: Tensor, scores: Tensor, iou_threshold: float, offset: int = 0) -> Tensor:
    """Greedy non-maximum suppression with the results of mmcv's compiled op.

    Args:
        boxes: (N, 4), x1, y1, x2, y2.
        scores: (N,).
        iou_threshold: boxes with a larger IoU than this are suppressed.
        offset: added to widths and heights, 0 or 1.

    Returns:
        Indices of the kept boxes by descending score, int64; see :func:`gfl_plugin.ops.nms.nms`.
    """
    if offset == 0 and boxes.numel() and (torchvision_nms := _torchvision_nms()) is not None:
        return torchvision_nms(boxes, scores, iou_threshold)
    return exact_nms(boxes, scores, iou_threshold, offset)


@functools.lru_cache(maxsize=1)
def _torchvision_nms() -> Callable[[Tensor, Tensor, float], Tensor] | None:
    """torchvision's compiled NMS; None if torchvision is missing or does not fit the installed PyTorch."""
    try:
        from torchvision.ops import nms as compiled
    except (ImportError, RuntimeError):  # a torchvision built for another PyTorch fails at registration
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
    """Soft-NMS (Bodla et al., arXiv 1704.04503) with the results of mmcv's compiled op.

    Args:
        boxes: (N, 4), x1, y1, x2, y2, on the CPU.
        scores: (N,).
        dets: (N, 5); its first rows are overwritten with the kept boxes and their new scores.
        iou_threshold: IoU from which methods 0 and 1 reduce scores.
        sigma: width of the Gaussian of method 2.
        min_score: boxes with a lower new score are dropped.
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
