"""Statistics of the side distributions: the input of GFLV2's quality layers (Li et al., arXiv 2011.12885, Section 3.2).

The flatter a side's distribution, the less certain is the box. Its shape is described by the largest probabilities and
their mean, whatever the position of the peak.
"""

from __future__ import annotations

import torch
from torch import Tensor


def top_probabilities(
    box_logits: Tensor, topk: int, values: bool = True, mean: bool = True, variance: bool = False
) -> Tensor:
    """The largest probabilities of each side's distribution, with their mean and variance.

    The probabilities are the softmax over the bins of one side.

    Args:
        box_logits: (B, 4·(n+1), H, W) logits of the bins, side after side, of any float dtype.
        topk: k, the number of probabilities per side.
        values: whether the result contains the k largest probabilities, in descending order.
        mean: whether it contains their mean.
        variance: whether it contains their variance, the mean squared difference from their mean.

    Returns:
        (B, 4·D, H, W), for each side the D numbers [values, mean, variance] that are asked for; fp32, or fp64 if the
        logits are fp64.

    Raises:
        ValueError: if the number of channels is not a multiple of 4, if there are fewer than k bins, or if no number
            is asked for.
    """
    check_top_probabilities(box_logits, topk, values or mean or variance)
    images, channels, height, width = box_logits.shape
    sides = box_logits.view(images, 4, channels // 4, height, width)
    dtype = torch.promote_types(box_logits.dtype, torch.float32)
    largest = sides.softmax(dim=2, dtype=dtype).topk(topk, dim=2).values  # (B, 4, k, H, W)
    average = largest.mean(dim=2, keepdim=True)
    numbers = []
    if values:
        numbers.append(largest)
    if mean:
        numbers.append(average)
    if variance:
        numbers.append((largest - average).square().mean(dim=2, keepdim=True))
    return torch.cat(numbers, dim=2).flatten(1, 2)


def check_top_probabilities(box_logits: Tensor, topk: int, wanted: bool) -> None:
    """Check the arguments of :func:`top_probabilities`.

    Args:
        box_logits: as there.
        topk: as there.
        wanted: whether any statistic is asked for.

    Raises:
        ValueError: as there.
    """
    channels = box_logits.shape[1]
    if channels % 4:
        raise ValueError(f"box_logits has {channels} channels; it must have 4·(n+1), the bins of four sides")
    if not 1 <= topk <= channels // 4:
        raise ValueError(
            f"topk is {topk!r}; it must be from 1 to the number of bins per side, which is {channels // 4} here"
        )
    if not wanted:
        raise ValueError("values, mean and variance are all False; at least one must be True")
