"""The contract of box coders, and the geometry they share: boxes as distances from a location to their four sides."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from mmdet.models.task_modules.coders import BaseBBoxCoder
from mmdet.structures.bbox import BaseBoxes, HorizontalBoxes, distance2bbox, get_box_tensor
from torch import Tensor, nn


class DistanceBBoxCoder(BaseBBoxCoder):
    """Base class of box coders: a subclass defines what the network's numbers per side represent.

    Distances are in units of ``stride``; points and boxes may be in pixels (give the stride) or already in strides
    (leave it at 1). Where MMDetection's anchor heads pass prior boxes (N, 4) instead of points, the center
    of the prior is the point, and its mean side / ``prior_scale`` is the stride.

    Args:
        encode_size: numbers per box, four times the numbers per side.
        clip_border: whether decoded boxes are clipped to ``max_shape``.
        prior_scale: side of a prior box in strides; 8 for GFL's and ATSS's square priors.
        use_box_type: whether ``decode`` returns MMDetection's box type instead of a tensor.

    Raises:
        ValueError: for a setting outside its range.
    """

    # Losses of (N, encode_size / 4) sides against their (N,) positions; empty where a side is one number.
    side_losses: ClassVar[tuple[type[nn.Module], ...]] = ()
    default_side_loss: ClassVar[dict | None] = None
    # Fields of ``structures.side_fields`` that detections can have: BBOX_STD needs ``std``, BBOX_DISTRIBUTIONS needs
    # ``distribution``.
    side_fields: ClassVar[tuple[str, ...]] = ()

    def __init__(
        self, encode_size: int, clip_border: bool = True, prior_scale: float = 8.0, use_box_type: bool = False
    ) -> None:
        super().__init__(use_box_type=use_box_type)
        if not prior_scale > 0:
            raise ValueError(f"prior_scale is {prior_scale!r}; it must be > 0")
        self.encode_size = encode_size
        self.clip_border = clip_border
        self.prior_scale = prior_scale

    # -----------------------------------------------------------------------------------------------
    # Overridden by subclasses
    # -----------------------------------------------------------------------------------------------

    def distances(self, raw: Tensor) -> Tensor:
        """Distances to the four sides.

        Args:
            raw: (..., encode_size) the network's numbers.

        Returns:
            (..., 4) left, top, right, bottom, in strides.

        Raises:
            ValueError: for another last dimension.
        """
        raise NotImplementedError

    def std(self, raw: Tensor) -> Tensor:
        """Standard deviation of each side's predicted distribution, a measure of the model's uncertainty.

        Args:
            raw: (..., encode_size) the network's numbers.

        Returns:
            (..., 4) left, top, right, bottom, in strides, fp32.

        Raises:
            ValueError: for another last dimension.
        """
        raise NotImplementedError

    def distribution(self, raw: Tensor) -> Tensor:
        """Probabilities of the bins of each side, where a side has bins.

        Args:
            raw: (..., encode_size) the network's numbers.

        Returns:
            (..., 4, n+1) left, top, right, bottom, fp32.

        Raises:
            ValueError: for another last dimension.
        """
        raise NotImplementedError

    def position(self, distance: Tensor) -> Tensor:
        """Targets of the side loss.

        Args:
            distance: (..., 4) true distances in strides.

        Returns:
            (..., 4) targets in the unit of the side loss; by default the distances themselves.
        """
        return distance

    def sides(self, raw: Tensor) -> Tensor:
        """Inputs of the side loss.

        Args:
            raw: (N, encode_size) the network's numbers.

        Returns:
            (4·N, encode_size / 4), one side per row.
        """
        return raw.reshape(-1, self.encode_size // 4)

    def bins(self, device: torch.device | str | None = None) -> Tensor | None:
        """Distances of the bins of a side's distribution.

        Args:
            device: of the result; the CPU by default.

        Returns:
            (n + 1,) fp32 in strides, or None where a side has no bins.
        """
        return None

    def initial_bias(self) -> list[float] | None:
        """Bias of the layer that gives the numbers, at initialization.

        Returns:
            One number for each of the ``encode_size`` outputs; None for MMDetection's, which is 0.
        """
        return None

    def check_side_loss(self, loss: nn.Module | None) -> None:
        """Check that a loss of sides fits.

        Args:
            loss: the built loss, or None if there is none.

        Raises:
            ValueError: if it does not fit; the message says what to write.
        """
        if loss is not None and not isinstance(loss, self.side_losses):
            fitting = "None" if self.default_side_loss is None else f"{self.default_side_loss} or None"
            raise ValueError(
                f"loss_dfl is a {type(loss).__name__}, which does not fit sides as {type(self).__name__} "
                f"represents them; write loss_dfl={fitting}"
            )

    # -----------------------------------------------------------------------------------------------
    # Geometry
    # -----------------------------------------------------------------------------------------------

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
            stride: pixels per unit of distance, a number or (N,); ignored for prior boxes (see the class).

        Returns:
            (N, 4) left, top, right, bottom, in strides.

        Raises:
            ValueError: for points of another last dimension.
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
        """Boxes from the network's numbers.

        Args:
            points: (..., N, 2) x, y, or (..., N, 4) prior boxes (see the class).
            pred_bboxes: (..., N, encode_size) the network's numbers.
            max_shape: (H, W, ...) to which boxes are clipped, in the points' unit; one per batch entry for 3-D input.
            stride: pixels per unit of distance, a number or (..., N); ignored for prior boxes (see the class).

        Returns:
            (..., N, 4) x1, y1, x2, y2, in the points' unit.

        Raises:
            ValueError: for another last dimension of points or numbers.
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
        """(..., 2) centers, and pixels per unit of distance, broadcastable against (..., 4) and (..., 2)."""
        points = get_box_tensor(points)
        if points.shape[-1] == 4:
            sides = points[..., 2:] - points[..., :2]
            unit = sides.prod(dim=-1, keepdim=True).sqrt() / self.prior_scale
            return (points[..., :2] + points[..., 2:]) / 2, unit
        if points.shape[-1] != 2:
            raise ValueError(f"points have shape {tuple(points.shape)}; the last dimension must be 2 (x, y) or 4 (box)")
        return points, stride[..., None] if isinstance(stride, Tensor) else stride

    def _check_width(self, raw: Tensor) -> Tensor:
        if raw.shape[-1] != self.encode_size:
            raise ValueError(
                f"the last dimension of the box prediction is {raw.shape[-1]}; {type(self).__name__} needs "
                f"{self.encode_size}"
            )
        return raw
