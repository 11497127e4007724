"""Distribution-guided quality by the kernel for the box logits' device and dtype."""

from __future__ import annotations

import torch
from torch import Tensor

from ..backend import Kernels
from ..top_probabilities import check_top_probabilities
from . import eager
from .inputs import QualityLayers, Statistics

_QUALITY_LOGITS = Kernels(
    torch=eager.quality_logits, numba="gfl_plugin.ops.distribution_quality.numba_autograd:quality_logits"
)


def distribution_quality(box_logits: Tensor, layers: QualityLayers, statistics: Statistics) -> Tensor:
    r"""Logit of the quality that GFLV2 predicts from the side distributions (Li et al., arXiv 2011.12885, Section 3.2).

    .. math:: b = W_2\,\mathrm{ReLU}(W_1 F + w_1) + w_2

    F holds the statistics of the four sides; see :func:`gfl_plugin.ops.top_probabilities.top_probabilities`.

    Args:
        box_logits: (B, 4·(n+1), H, W) logits of the bins, side after side, of any float dtype.
        layers: :math:`W_1, w_1, W_2, w_2`.
        statistics: what F contains.

    Returns:
        (B, 1, H, W) logits b, in the layers' dtype.

    Raises:
        ValueError: if the number of channels is not a multiple of 4, if there are fewer bins than probabilities asked
            for, if no statistics are asked for, or if the layers are for another number of statistics.
        RuntimeError: if :func:`gfl_plugin.ops.backend.use_backend` requests a kernel that does not take the logits.
    """
    check_top_probabilities(box_logits, statistics.topk, statistics.size > 0)
    if layers.weight.shape[1] != 4 * statistics.size:
        raise ValueError(
            f"the first quality layer has {layers.weight.shape[1]} input channels; with {statistics} it must have "
            f"{4 * statistics.size}, {statistics.size} for each side"
        )
    if layers.weight.dtype != torch.float32:  # compiled kernels are for fp32 only
        return eager.quality_logits(box_logits, layers, statistics)
    return _QUALITY_LOGITS.for_tensor(box_logits)(box_logits, layers, statistics)
