r"""Mean of values under a softmax distribution, :math:`\sum_i \mathrm{softmax}(x)_i\, y_i`."""

from __future__ import annotations

import torch
from torch import Tensor

from .backend import Kernels


def expected_value(logits: Tensor, values: Tensor) -> Tensor:
    """Mean of values whose probabilities are given as logits, differentiable once with respect to the logits.

    Args:
        logits: (..., n) fp32.
        values: (n,) fp32, constant.

    Returns:
        (...) fp32.

    Raises:
        RuntimeError: if :func:`gfl_plugin.ops.backend.use_backend` requests a kernel that does not take the logits.
    """
    return _EXPECTED_VALUE.for_tensor(logits)(logits, values)


def _composed(logits: Tensor, values: Tensor) -> Tensor:
    return _Expectation.apply(logits.softmax(dim=-1), values)


_EXPECTED_VALUE = Kernels(torch=_composed, numba="gfl_plugin.ops.expected_value_numba:expected_value")


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
