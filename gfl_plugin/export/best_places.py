"""The best class scores of a level with static shapes: what an ONNX graph can hold of ``heads.select_topk``."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .onnx_operations import onnx_div


@dataclass(frozen=True)
class BestPlaces:
    """K class scores of one level of each image with their places, by descending score.

    A level with fewer than K scores is filled up with scores of minus infinity, at the first place.
    """

    logit: Tensor  # (B, K) class logit, fp32
    label: Tensor  # (B, K) class, int64
    prior: Tensor | None  # (B, K) which of the A priors of the cell, int64; None where A is 1
    cell: Tensor  # (B, K) row-major index in the level's grid, int64
    width: int  # columns of the grid

    def columns_and_rows(self) -> Tensor:
        """The positions of the cells in the grid.

        Returns:
            (B, K, 2) column and row, fp32.
        """
        row = onnx_div(self.cell, self.width)
        return torch.stack([self.cell - row * self.width, row], dim=-1).float()

    def values_of(self, level_map: Tensor, priors: int) -> Tensor:
        """Values of a map at these places.

        Args:
            level_map: (B, A·D, H, W).
            priors: A, priors per cell.

        Returns:
            (B, K, D).
        """
        images, channels, height, width = level_map.shape
        numbers, cells = channels // priors, height * width
        first = self.cell if self.prior is None else self.prior * (numbers * cells) + self.cell
        index = first[:, :, None] + torch.arange(numbers) * cells
        return level_map.flatten(1).gather(1, index.flatten(1)).view(images, -1, numbers)


def best_places(logits: Tensor, priors: int, topk: int) -> BestPlaces:
    """The ``topk`` best class scores of a level.

    The best pairs of class and place are at the places with the best highest class logit. So most of the work is a
    top-k over places instead of one over classes times places.

    Args:
        logits: (B, A·C, H, W) class logits.
        priors: A, priors per cell.
        topk: K.

    Returns:
        The same pairs as ``select_topk`` without a threshold gives, but for ties.
    """
    images, channels, height, width = logits.shape
    classes, cells = channels // priors, height * width
    highest = logits.reshape(images, priors, classes, cells).amax(dim=2).transpose(1, 2).flatten(1)  # (B, cells·A)
    # Filled up, as the number of places is not known when the graph is made.
    logit, place = torch.cat([highest, highest.new_full((images, topk), -torch.inf)], dim=1).topk(topk, dim=1)
    place = torch.where(place < cells * priors, place, 0)
    cell, prior = place, None
    if priors > 1:
        cell = onnx_div(place, priors)
        prior = place - cell * priors
    if classes == 1:
        return BestPlaces(logit, torch.zeros_like(cell), prior, cell, width)
    of_places = BestPlaces(logit, cell, prior, cell, width).values_of(logits, priors)  # (B, K, C)
    of_places = torch.where((logit == -torch.inf)[:, :, None], -torch.inf, of_places)
    logit, pair = of_places.transpose(1, 2).flatten(1).topk(topk, dim=1)
    label = onnx_div(pair, topk)
    row = pair - label * topk
    prior = None if prior is None else prior.gather(1, row)
    return BestPlaces(logit, label, prior, cell.gather(1, row), width)
