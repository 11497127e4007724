"""Inputs of distribution-guided quality, the same for all kernels."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Statistics:
    """What the layers are told of each side's distribution; see :func:`gfl_plugin.ops.top_probabilities`."""

    topk: int  # k, the number of largest probabilities
    values: bool = True  # whether these probabilities are among the statistics
    mean: bool = True  # whether their mean is
    variance: bool = False  # whether their variance is

    @property
    def size(self) -> int:
        """D, the number of statistics of a side."""
        return self.topk * self.values + self.mean + self.variance


@dataclass(frozen=True)
class QualityLayers:
    """Parameters of the two layers, of one dtype, in the shapes of 1x1 convolutions."""

    weight: Tensor  # (hidden, 4·D, 1, 1)
    bias: Tensor  # (hidden,)
    out_weight: Tensor  # (1, hidden, 1, 1)
    out_bias: Tensor  # (1,)
