r"""A box side as one number: a Dirac delta at the predicted distance (Li et al., arXiv 2006.04388, Eq. 2).

The distance is :math:`\hat y = e^x` strides for the network's x, as in FCOS (Tian et al., arXiv 1904.01355, Eq. 2).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..registry import TASK_UTILS
from .base import DistanceBBoxCoder

# e^10 strides are wider than any image; larger values would only risk overflow.
_LARGEST = 10.0
# 4 strides, half a side of ATSS's priors, so that boxes overlap their objects from the first step. With a bias of 0,
# boxes start with a side of 2 strides. Most overlap their object too little to be learned: QFL learns their IoU as the
# score, and scores are the weights of the box losses.
INITIAL_BIAS = math.log(4)


def exponential_distance(raw: Tensor) -> Tensor:
    """Distances > 0 from unbounded numbers.

    Args:
        raw: any shape and float dtype.

    Returns:
        ``exp(raw)`` in strides, fp32, at most e^10.
    """
    return raw.float().clamp(max=_LARGEST).exp()


@TASK_UTILS.register_module()
class DiracBBoxCoder(DistanceBBoxCoder):
    """Represents a box by four distances, one number each.

    Args:
        **kwargs: settings of DistanceBBoxCoder.
    """

    def __init__(self, **kwargs) -> None:
        super().__init__(encode_size=4, **kwargs)

    def initial_bias(self) -> list[float]:
        return [INITIAL_BIAS] * self.encode_size

    def distances(self, raw: Tensor) -> Tensor:
        return exponential_distance(self._check_width(raw))

    def std(self, raw: Tensor) -> Tensor:
        """Zeros, because a Dirac delta has no width.

        Args:
            raw: (..., 4) the network's numbers.

        Returns:
            (..., 4) zeros, fp32.
        """
        return torch.zeros_like(self._check_width(raw), dtype=torch.float32)
