r"""A box side as a general distribution over distances (Li et al., arXiv 2006.04388, Eq. 3-4).

The distances from a location to the left, top, right and bottom sides live on the bins
:math:`y_0, y_0 + \Delta, \dots, y_0 + n\Delta`. A network gives n + 1 logits a side; with their softmax P the distance
is the integral :math:`\hat y = \sum_i P(y_i)\,y_i`.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

import torch
from mmdet.models.task_modules.coders import BaseBBoxCoder
from mmdet.structures.bbox import BaseBoxes, HorizontalBoxes, distance2bbox, get_box_tensor
from torch import Tensor

from ..registry import TASK_UTILS


@TASK_UTILS.register_module()
class IntegralBBoxCoder(BaseBBoxCoder):
    """Codes boxes as four distributions over distances.

    Distances and bins are in units of ``stride``; points and boxes may be in pixels (give the stride) or already in
    strides (leave it at 1). Where MMDetection's anchor heads hand over prior boxes (N, 4) instead of points, a prior
    stands for its centre and for a stride of its mean side / ``prior_scale``.

    Args:
        reg_max: n, the number of the last bin, >= 1.
        first: y_0, the first bin's distance.
        step: Δ, the bins' spacing, > 0.
        clip_border: whether decoded boxes are clipped to ``max_shape``.
        prior_scale: side of a prior box in strides; 8 for GFL's and ATSS's square priors.
        use_box_type: whether ``decode`` returns MMDetection's box type instead of a tensor.

    Raises:
        ValueError: for a setting outside its range.
    """

    def __init__(
        self,
        reg_max: int = 16,
        first: float = 0.0,
        step: float = 1.0,
        clip_border: bool = True,
        prior_scale: float = 8.0,
        use_box_type: bool = False,
    ) -> None:
        super().__init__(use_box_type=use_box_type)
        if not (isinstance(reg_max, int) and reg_max >= 1):
            raise ValueError(f"reg_max is {reg_max!r}; it must be a whole number >= 1 (the paper's is 16)")
        if not step > 0:
            raise ValueError(f"step is {step!r}; the bins' spacing must be > 0")
        if not prior_scale > 0:
            raise ValueError(f"prior_scale is {prior_scale!r}; it must be > 0")
        self.reg_max = reg_max
        self.first = float(first)
        self.step = float(step)
        self.clip_border = clip_border
        self.prior_scale = prior_scale
        self.encode_size = 4 * (reg_max + 1)

    def bins(self, device: torch.device | str | None = None) -> Tensor:
        """(n + 1,) the bins' distances in strides, fp32."""
        return _bins(self.reg_max, self.first, self.step, torch.device(device or "cpu")).clone()

    def distribution(self, logits: Tensor) -> Tensor:
        """(..., 4·(n+1)) logits -> (..., 4, n+1) probabilities, fp32."""
        if logits.shape[-1] != self.encode_size:
            raise ValueError(
                f"the last dimension of the logits is {logits.shape[-1]}; with reg_max={self.reg_max} it must be "
                f"4 * (reg_max + 1) = {self.encode_size}"
            )
        return logits.float().unflatten(-1, (4, self.reg_max + 1)).softmax(dim=-1)

    def integral(self, logits: Tensor) -> Tensor:
        """(..., 4·(n+1)) logits -> (..., 4) expected distances in strides."""
        probability = self.distribution(logits)
        return _Expectation.apply(probability, _bins(self.reg_max, self.first, self.step, logits.device))

    def std(self, logits: Tensor) -> Tensor:
        """(..., 4·(n+1)) logits -> (..., 4) standard deviation of each side in strides: how unsure the model is."""
        probability = self.distribution(logits)
        bins = self.bins(logits.device)
        mean = (probability * bins).sum(dim=-1, keepdim=True)
        return (probability * (bins - mean).square()).sum(dim=-1).sqrt()

    def position(self, distance: Tensor, eps: float = 0.1) -> Tensor:
        """Distances in strides -> positions on the bins in [0, n - eps], the target of DFL (0 is the first bin).

        What lies outside is clamped; ``eps`` keeps a bin to the right of each target, as in MMDetection.
        """
        return ((distance - self.first) / self.step).clamp(min=0.0, max=self.reg_max - eps)

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
        """Boxes from distributions, or from distances.

        Args:
            points: (..., N, 2) x, y, or (..., N, 4) prior boxes (see the class).
            pred_bboxes: (..., N, 4·(n+1)) logits, or (..., N, 4) distances in strides; the last dimension tells.
            max_shape: (H, W, ...) that boxes are clipped to, in the points' unit; one a batch entry for 3-D input.
            stride: pixels a unit of distance, a number or (..., N); ignored for prior boxes, which carry theirs.

        Returns:
            (..., N, 4) x1, y1, x2, y2, in the points' unit.

        Raises:
            ValueError: for a last dimension that is neither.
        """
        distance = pred_bboxes if pred_bboxes.shape[-1] == 4 else self.integral(pred_bboxes)
        points, unit = self._points_and_unit(points, stride)
        if max_shape is None or not self.clip_border:
            near, far = (distance * unit).split_with_sizes((2, 2), dim=-1)
            boxes = torch.cat([points - near, points + far], dim=-1)
        else:
            boxes = distance2bbox(points, distance * unit, max_shape)
        return HorizontalBoxes(boxes) if self.use_box_type else boxes

    def _points_and_unit(self, points: Tensor, stride: float | Tensor) -> tuple[Tensor, float | Tensor]:
        """(..., 2) centres, and pixels a unit of distance, broadcastable against (..., 4) and (..., 2)."""
        points = get_box_tensor(points)
        if points.shape[-1] == 4:
            sides = points[..., 2:] - points[..., :2]
            unit = sides.prod(dim=-1, keepdim=True).sqrt() / self.prior_scale
            return (points[..., :2] + points[..., 2:]) / 2, unit
        if points.shape[-1] != 2:
            raise ValueError(f"points have shape {tuple(points.shape)}; the last dimension must be 2 (x, y) or 4 (box)")
        return points, stride[..., None] if isinstance(stride, Tensor) else stride


@functools.lru_cache(maxsize=32)
def _bins(reg_max: int, first: float, step: float, device: torch.device) -> Tensor:
    """The bins, made once; not to be written to."""
    return first + step * torch.arange(reg_max + 1, dtype=torch.float32, device=device)


class _Expectation(torch.autograd.Function):
    """(..., n) probabilities and (n,) constant values -> (...) their mean."""

    @staticmethod
    def forward(ctx, probability: Tensor, values: Tensor) -> Tensor:
        ctx.values = values  # a constant; one made in inference mode could not be saved
        # A matrix product, which rounds as MMDetection's does; autocast would lower it to half precision.
        with torch.autocast(probability.device.type, enabled=False):
            return torch.nn.functional.linear(probability, values[None]).squeeze(-1)

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor, None]:
        return grad[..., None] * ctx.values, None  # as a matrix product of one column it takes five times as long
