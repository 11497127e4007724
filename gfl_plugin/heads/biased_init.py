"""Initialization of a layer whose outputs have different biases."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from mmengine.model import NormalInit
from torch import nn


class BiasedNormalInit(NormalInit):
    """MMEngine's ``Normal`` with one bias per output, for ``init_cfg``.

    Args:
        biases: one number per output of the layer.
        **kwargs: as MMEngine's ``Normal``, without ``bias``.
    """

    def __init__(self, biases: Sequence[float], **kwargs) -> None:
        super().__init__(**kwargs)
        self.biases = biases

    @torch.no_grad()
    def __call__(self, module: nn.Module) -> None:
        super().__call__(module)
        module.bias.copy_(module.bias.new_tensor(self.biases))
