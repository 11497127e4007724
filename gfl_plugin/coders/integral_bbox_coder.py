r"""A box side as a general distribution over distances (Li et al., arXiv 2006.04388, Eq. 3-4).

The distances from a location to the left, top, right and bottom sides are represented on the bins
:math:`y_0, y_0 + \Delta, \dots, y_0 + n\Delta`. The network gives n + 1 logits per side; with their softmax P the
distance is the integral :math:`\hat y = \sum_i P(y_i)\,y_i`.
"""

from __future__ import annotations

import torch
from mmdet.models.losses import DistributionFocalLoss as MMDetDistributionFocalLoss
from torch import Tensor

from ..losses import DistributionFocalLoss
from ..ops.tensor_cache import cached
from ..registry import TASK_UTILS
from .base import DistanceBBoxCoder

DEFAULT_REG_MAX = 16  # the paper's n


@TASK_UTILS.register_module()
class IntegralBBoxCoder(DistanceBBoxCoder):
    """Represents a box by four distributions over distances; bins and distances are in units of ``stride``.

    Args:
        reg_max: n, the index of the last bin, >= 1.
        first: y_0, the first bin's distance.
        step: Δ, the bins' spacing, > 0.
        **kwargs: settings of DistanceBBoxCoder.

    Raises:
        ValueError: for a setting outside its range.
    """

    side_losses = (DistributionFocalLoss, MMDetDistributionFocalLoss)
    default_side_loss = {"type": "DistributionFocalLoss", "loss_weight": 0.25}

    def __init__(self, reg_max: int = DEFAULT_REG_MAX, first: float = 0.0, step: float = 1.0, **kwargs) -> None:
        if not (isinstance(reg_max, int) and reg_max >= 1):
            raise ValueError(f"reg_max is {reg_max!r}; it must be a whole number >= 1 (the paper's is 16)")
        if not step > 0:
            raise ValueError(f"step is {step!r}; the bins' spacing must be > 0")
        super().__init__(encode_size=4 * (reg_max + 1), **kwargs)
        self.reg_max = reg_max
        self.first = float(first)
        self.step = float(step)

    def bins(self, device: torch.device | str | None = None) -> Tensor:
        return _bins(self.reg_max, self.first, self.step, torch.device(device or "cpu")).clone()

    def distribution(self, logits: Tensor) -> Tensor:
        """Probabilities of the bins.

        Args:
            logits: (..., 4·(n+1)).

        Returns:
            (..., 4, n+1) fp32.

        Raises:
            ValueError: for another last dimension.
        """
        if logits.shape[-1] != self.encode_size:
            raise ValueError(
                f"the last dimension of the logits is {logits.shape[-1]}; with reg_max={self.reg_max} it must be "
                f"4 * (reg_max + 1) = {self.encode_size}"
            )
        return logits.float().unflatten(-1, (4, self.reg_max + 1)).softmax(dim=-1)

    def integral(self, logits: Tensor) -> Tensor:
        """Expected distances.

        Args:
            logits: (..., 4·(n+1)).

        Returns:
            (..., 4) in strides, fp32.

        Raises:
            ValueError: for another last dimension.
        """
        probability = self.distribution(logits)
        return _Expectation.apply(probability, _bins(self.reg_max, self.first, self.step, logits.device))

    def std(self, logits: Tensor) -> Tensor:
        probability = self.distribution(logits)
        bins = self.bins(logits.device)
        mean = (probability * bins).sum(dim=-1, keepdim=True)
        return (probability * (bins - mean).square()).sum(dim=-1).sqrt()

    def position(self, distance: Tensor, eps: float = 0.1) -> Tensor:
        """Positions on the bins, the targets of DFL.

        Args:
            distance: in strides, any shape.
            eps: keeps a bin to the right of each target, as in MMDetection.

        Returns:
            Positions in [0, n - eps], 0 at the first bin; distances outside the bins are clamped.
        """
        return ((distance - self.first) / self.step).clamp(min=0.0, max=self.reg_max - eps)

    def distances(self, raw: Tensor) -> Tensor:
        """Expected distances.

        Args:
            raw: (..., 4·(n+1)) logits, or (..., 4) distances, which are returned unchanged.

        Returns:
            (..., 4) in strides.

        Raises:
            ValueError: for another last dimension.
        """
        return raw if raw.shape[-1] == 4 else self.integral(raw)


@cached(maxsize=32)
def _bins(reg_max: int, first: float, step: float, device: torch.device) -> Tensor:
    """The bins, cached; callers must not modify them."""
    return first + step * torch.arange(reg_max + 1, dtype=torch.float32, device=device)


class _Expectation(torch.autograd.Function):
    """(..., n) probabilities and (n,) constant values -> (...) their mean."""

    @staticmethod
    def forward(ctx, probability: Tensor, values: Tensor) -> Tensor:
        ctx.values = values  # a constant; one made in inference mode could not be saved
        # A matrix product rounds as MMDetection does. Autocast would compute it in half precision, so it is disabled.
        with torch.autocast(probability.device.type, enabled=False):
            return torch.nn.functional.linear(probability, values[None]).squeeze(-1)

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor, None]:
        return grad[..., None] * ctx.values, None  # a matrix product with one column takes five times as long
