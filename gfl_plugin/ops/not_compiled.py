"""Functions that torch.compile does not compile."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import torch

_Function = TypeVar("_Function", bound=Callable)


def not_compiled(function: _Function) -> _Function:
    """Exclude a function from compilation, with everything that it calls.

    ``torch.compiler.disable`` does the same, but imports PyTorch's compiler where a function is defined, which takes
    most of a second. With this decorator the first call imports it; in a training, PyTorch's optimizers already have.

    Args:
        function: the function.

    Returns:
        A function that does the same.
    """
    return torch._disable_dynamo(function)
