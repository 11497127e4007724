r"""A box side as a Gaussian :math:`N(\mu, \sigma^2)` over distances (He et al., arXiv 1809.08545, Eq. 3-4).

The network gives two numbers per side, x and :math:`\alpha = \log \sigma^2`; the distance is the mean
:math:`\mu = e^x` strides. It is trained with ``GaussianNLLLoss`` in addition to the box loss.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..losses import GaussianNLLLoss
from ..losses.gaussian_nll_loss import LARGEST_LOG_VARIANCE
from ..registry import TASK_UTILS
from ..structures.side_fields import BBOX_STD
from .base import DistanceBBoxCoder
from .dirac_bbox_coder import INITIAL_BIAS, exponential_distance


@TASK_UTILS.register_module()
class GaussianBBoxCoder(DistanceBBoxCoder):
    """Represents a box by four Gaussians: mean and logarithm of the variance for one side after another.

    Args:
        **kwargs: settings of DistanceBBoxCoder.
    """

    side_losses = (GaussianNLLLoss,)
    default_side_loss = {"type": "GaussianNLLLoss", "loss_weight": 0.25}
    side_fields = (BBOX_STD,)

    def __init__(self, **kwargs) -> None:
        super().__init__(encode_size=8, **kwargs)

    def initial_bias(self) -> list[float]:
        return [INITIAL_BIAS] * self.encode_size  # of both numbers: a mean of 4 strides, a standard deviation of 2

    def distances(self, raw: Tensor) -> Tensor:
        return exponential_distance(self._check_width(raw)[..., 0::2])

    def sides(self, raw: Tensor) -> Tensor:
        mean, log_variance = super().sides(raw).unbind(dim=1)
        return torch.stack([exponential_distance(mean), log_variance.float()], dim=1)

    def std(self, raw: Tensor) -> Tensor:
        # The loss is flat beyond its limits, so that such numbers mean nothing more; e^50 pixels would be infinite.
        log_variance = self._check_width(raw)[..., 1::2].float().clamp(-LARGEST_LOG_VARIANCE, LARGEST_LOG_VARIANCE)
        return (log_variance / 2).exp()
