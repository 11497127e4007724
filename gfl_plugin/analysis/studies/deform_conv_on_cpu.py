"""Deformable convolutions of MMDetection's heads in runs on a CPU."""

from __future__ import annotations

from ...ops.deform_conv import deform_conv2d


def use_pytorch_deform_conv() -> None:
    """Let VFNet, TOOD and layers of type DCN use PyTorch's operations until the process ends.

    On a CPU these are ten times as fast as mmcv's, support bf16 and do not need compiled ops.
    """
    from mmcv.ops import deform_conv
    from mmdet.models.dense_heads import tood_head

    deform_conv.deform_conv2d = tood_head.deform_conv2d = deform_conv2d
