"""Boxes as distances from a location to their four sides: the geometry all coders here share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from mmdet.models.task_modules.coders import BaseBBoxCoder
from mmdet.structures.bbox import BaseBoxes, HorizontalBoxes, distance2bbox, get_box_tensor
from torch import Tensor, nn


class DistanceBBoxCoder(BaseBBoxCoder):
    """What a box representation has in common with every other; one says what a network's numbers mean.

    Distances are in units of ``stride``; points and boxes may be in pixels (give the stride) or already in strides
    (leave it at 1). Where MMDetection's anchor heads hand over prior boxes (N, 4) instead of points, a prior stands for
    its center and for a stride of its mean side / ``prior_scale``.

    Args:
        encode_size: numbers a box, four times those of a side.
        clip_border: whether decoded boxes are clipped to ``max_shape``.
        prior_scale: side of a prior box in strides; 8 for GFL's and ATSS's square priors.
        use_box_type: whether ``decode`` returns MMDetection's box type instead of a tensor.

    Raises:
        ValueError: for a setting outside its range.
    """

    # Losses of (N, encode_size / 4) sides against their (N,) positions; empty where a side is one number.
    side_losses: ClassVar[tuple[type[nn.Module], ...]] = ()
    default_side_loss: ClassVar[dict | None] = None

    def __init__(
        self, encode_size: int, clip_border: bool = True, prior_scale: float = 8.0, use_box_type: bool = False
    ) -> None:
        super().__init__(use_box_type=use_box_type)
        if not prior_scale > 0:
            raise ValueError(f"prior_scale is {prior_scale!r}; it must be > 0")
        self.encode_size = encode_size
        self.clip_border = clip_border
        self.prior_scale = prior_scale

    def distances(self, raw: Tensor) -> Tensor:
        """(..., encode_size) as the network gives them -> (..., 4) left, top, right, bottom, in strides."""
        raise NotImplementedError

    def position(self, distance: Tensor) -> Tensor:
        """(..., 4) distances in strides -> what the side loss compares a side with."""
        return distance

    def sides(self, raw: Tensor) -> Tensor:
        """(N, encode_size) -> (4·N, encode_size / 4), one side a row."""
        return raw.reshape(-1, self.encode_size // 4)

    def _check_width(self, raw: Tensor) -> Tensor:
        if raw.shape[-1] != self.encode_size:
            raise ValueError(
                f"the last dimension of the box prediction is {raw.shape[-1]}; {type(self).__name__} needs "
                f"{self.encode_size}"
            )
        return raw

    def encode(
        self,
        points: Tensor,
        gt_bboxes: Tensor | BaseBoxes,
        max_dis: float | None = None,
        eps: float = 0.1,
        stride: float | Tensor = 1.0,
    ) -> Tensor:
        """Distances from points to the sides of boxes.

        Args:
            points: (N, 2) x, y, or (N, 4) prior boxes (see the class).
            gt_bboxes: (N, 4) x1, y1, x2, y2, in the points' unit.
            max_dis: where given, distances are clamped to [0, max_dis - eps].
            eps: see ``max_dis``.
            stride: pixels a unit of distance, a number or (N,); ignored for prior boxes, which carry theirs.

        Returns:
            (N, 4) left, top, right, bottom, in strides.
        """
        points, unit = self._points_and_unit(points, stride)
        low, high = (get_box_tensor(gt_bboxes) / unit).split_with_sizes((2, 2), dim=-1)
        points = points / unit
        distance = torch.cat([points - low, high - points], dim=-1)
        return distance if max_dis is None else distance.clamp(min=0, max=max_dis - eps)

    def decode(
        self,
        points: Tensor,
        pred_bboxes: Tensor,
        max_shape: Sequence[int] | Tensor | Sequence[Sequence[int]] | None = None,
        stride: float | Tensor = 1.0,
    ) -> Tensor | BaseBoxes:
        """Boxes from what the network says of their sides.

        Args:
            points: (..., N, 2) x, y, or (..., N, 4) prior boxes (see the class).
            pred_bboxes: (..., N, encode_size) as the network gives them.
            max_shape: (H, W, ...) that boxes are clipped to, in the points' unit; one a batch entry for 3-D input.
            stride: pixels a unit of distance, a number or (..., N); ignored for prior boxes, which carry theirs.

        Returns:
            (..., N, 4) x1, y1, x2, y2, in the points' unit.

        Raises:
            ValueError: for another last dimension.
        """
        distance = self.distances(pred_bboxes)
        points, unit = self._points_and_unit(points, stride)
        if max_shape is None or not self.clip_border:
            near, far = (distance * unit).split_with_sizes((2, 2), dim=-1)
            boxes = torch.cat([points - near, points + far], dim=-1)
        else:
            boxes = distance2bbox(points, distance * unit, max_shape)
        return HorizontalBoxes(boxes) if self.use_box_type else boxes

    def _points_and_unit(self, points: Tensor, stride: float | Tensor) -> tuple[Tensor, float | Tensor]:
        """(..., 2) centers, and pixels a unit of distance, broadcastable against (..., 4) and (..., 2)."""
        points = get_box_tensor(points)
        if points.shape[-1] == 4:
            sides = points[..., 2:] - points[..., :2]
            unit = sides.prod(dim=-1, keepdim=True).sqrt() / self.prior_scale
            return (points[..., :2] + points[..., 2:]) / 2, unit
        if points.shape[-1] != 2:
            raise ValueError(f"points have shape {tuple(points.shape)}; the last dimension must be 2 (x, y) or 4 (box)")
        return points, stride[..., None] if isinstance(stride, Tensor) else stride
