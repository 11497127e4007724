"""Operators of ONNX as operations of PyTorch: what PyTorch lacks, or translates to many operators."""

from __future__ import annotations

import torch
from torch import Tensor

from ..ops.nms import nms


@torch.library.custom_op("gfl_plugin::onnx_nms", mutates_args=())
def onnx_nms(boxes: Tensor, scores: Tensor, iou_threshold: float, limit: int) -> Tensor:
    """Greedy NMS of each image of a batch.

    Args:
        boxes: (B, N, 4) x1, y1, x2, y2.
        scores: (B, 1, N); boxes with a score of 0 or less are left out.
        iou_threshold: a box with an IoU above it is suppressed.
        limit: maximum number of kept boxes per image.

    Returns:
        (D, 3) int64: image, 0 and box of what is kept; image after image, the best first.
    """
    kept = []
    for image, (own_boxes, own_scores) in enumerate(zip(boxes, scores[:, 0])):
        rows = (own_scores > 0).nonzero().squeeze(1)
        rows = rows[nms(own_boxes[rows], own_scores[rows], iou_threshold)][:limit]
        kept.append(torch.stack([torch.full_like(rows, image), torch.zeros_like(rows), rows], dim=1))
    return torch.cat(kept)


@onnx_nms.register_fake
def _(boxes: Tensor, scores: Tensor, iou_threshold: float, limit: int) -> Tensor:
    count = torch.library.get_ctx().new_dynamic_size()
    return boxes.new_empty((count, 3), dtype=torch.int64)


@torch.library.custom_op("gfl_plugin::onnx_div", mutates_args=())
def onnx_div(index: Tensor, divisor: int) -> Tensor:
    """Divide whole numbers >= 0 and round down. PyTorch's ``//`` would become seven operators.

    Args:
        index: any shape, int64.
        divisor: above 0.

    Returns:
        The quotients, int64.
    """
    return index // divisor


@onnx_div.register_fake
def _(index: Tensor, divisor: int) -> Tensor:
    return torch.empty_like(index)


def translations() -> dict:
    """What torch.onnx.export writes for these operations.

    Returns:
        Its ``custom_translation_table``.
    """
    from onnxscript import opset18 as op

    def nms_of(boxes, scores, iou_threshold: float, limit: int):  # noqa: ANN001, ANN202  (values of onnxscript)
        limits = op.Constant(value_ints=[limit]), op.Constant(value_floats=[iou_threshold])
        return op.NonMaxSuppression(boxes, scores, *limits, op.Constant(value_floats=[0.0]))

    def quotient_of(index, divisor):  # noqa: ANN001, ANN202
        return op.Div(index, divisor)

    return {torch.ops.gfl_plugin.onnx_nms.default: nms_of, torch.ops.gfl_plugin.onnx_div.default: quotient_of}
