r"""The logit of a product of two sigmoids: GFLV2's joint score (Li et al., arXiv 2011.12885, Section 3.2).

.. math:: J = \operatorname{logit}(\sigma(a)\,\sigma(b)) = -\log\left(e^{-a} + e^{-b} + e^{-(a + b)}\right)

With :math:`p = \sigma(a)\,\sigma(b) = \sigma(J)` its slopes are

.. math:: \frac{\partial J}{\partial a} = \frac{1 - \sigma(a)}{1 - p}, \qquad
    \frac{\partial J}{\partial b} = \frac{1 - \sigma(b)}{1 - p}

The logit keeps what a product of probabilities in fp32 loses: how near to 1 the score is. Losses that take logits, such
as QFL, can therefore be used for the joint score, and their gradients stay finite.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .backend import Kernels


def joint_logit(cls_logits: Tensor, quality_logits: Tensor) -> Tensor:
    """Logit of the product of class probability and quality, both given as logits.

    It is finite for finite logits whose sum is finite, and so are its slopes, each of which is in [0, 1].

    Args:
        cls_logits: (B, C, H, W) class logits a, of any float dtype.
        quality_logits: (B, 1, H, W) quality logits b, of any float dtype.

    Returns:
        (B, C, H, W) logits J of the joint scores; fp32, or fp64 if an input is fp64.

    Raises:
        ValueError: if the quality logits are not one map per image of the class logits' height and width.
        RuntimeError: if :func:`gfl_plugin.ops.backend.use_backend` requests a kernel that does not take the logits.
    """
    _check(cls_logits, quality_logits)
    if cls_logits.dtype != quality_logits.dtype:  # compiled kernels take one dtype
        return _composed(cls_logits, quality_logits)
    return _JOINT_LOGIT.for_tensor(cls_logits)(cls_logits, quality_logits)


def _composed(cls_logits: Tensor, quality_logits: Tensor) -> Tensor:
    """In PyTorch operations, for any device and dtype."""
    dtype = torch.promote_types(torch.promote_types(cls_logits.dtype, quality_logits.dtype), torch.float32)
    a, b = cls_logits.to(dtype), quality_logits.to(dtype)
    both = a + b
    # The sum of exponentials divided by the largest one. That factor cancels in the slopes, hence detach(). They
    # are the terms' shares of the sum, accurate even where 1 - p is below fp32's precision.
    least = torch.minimum(torch.minimum(a, b), both).detach()
    return least - torch.log((least - a).exp() + (least - b).exp() + (least - both).exp())


_JOINT_LOGIT = Kernels(torch=_composed, numba="gfl_plugin.ops.joint_logit_numba:joint_logit")


def _check(cls_logits: Tensor, quality_logits: Tensor) -> None:
    images, _, *size = cls_logits.shape
    if quality_logits.shape != (images, 1, *size):
        raise ValueError(
            f"quality_logits has shape {tuple(quality_logits.shape)}; for cls_logits of shape "
            f"{tuple(cls_logits.shape)} it must be {(images, 1, *size)}, one quality per location"
        )
