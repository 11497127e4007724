"""What tests of operations with several kernels share."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable

import torch

BACKENDS = ["torch"] + ["numba"] * bool(importlib.util.find_spec("numba"))


def with_threads(count: int, run: Callable[[], object]) -> object:
    """The result of a call with another number of PyTorch threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        return run()
    finally:
        torch.set_num_threads(before)
