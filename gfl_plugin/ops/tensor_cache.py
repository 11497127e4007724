"""A cache of constant tensors that are the same in every step, such as a grid's strides."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TypeVar

import torch

Result = TypeVar("Result")


def cached(maxsize: int) -> Callable[[Callable[..., Result]], Callable[..., Result]]:
    """As ``functools.lru_cache``, for functions that make constant tensors.

    Tensors of a trace (torch.compile, torch.export) are not kept: they have no values. Those made in inference mode are
    made as ordinary ones: training may need them later.

    Args:
        maxsize: results kept.
    """

    def decorate(function: Callable[..., Result]) -> Callable[..., Result]:
        @functools.lru_cache(maxsize=maxsize)
        def kept(*arguments: object) -> Result:
            with torch.inference_mode(False):
                return function(*arguments)

        @functools.wraps(function)
        def wrapped(*arguments: object) -> Result:
            return function(*arguments) if torch.compiler.is_compiling() else kept(*arguments)

        wrapped.cache_clear = kept.cache_clear  # type: ignore[attr-defined]
        return wrapped

    return decorate
