"""What may be used only in places: packages that need not be installed, and the values of tensors."""

from __future__ import annotations

import functools
import importlib.util

import torch
from torch import Tensor


@functools.cache
def installed(package: str) -> bool:
    """Whether a package can be imported."""
    return importlib.util.find_spec(package) is not None


def readable(tensor: Tensor) -> bool:
    """Whether looking at a tensor's values costs nothing.

    A GPU would have to be waited for, and a function that torch.compile traces has no values yet.
    """
    return tensor.device.type == "cpu" and not torch.compiler.is_compiling()
