"""A cache of constant tensors, such as a grid's strides, that every step needs."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TypeVar

import torch

Result = TypeVar("Result")


def cached(maxsize: int) -> Callable[[Callable[..., Result]], Callable[..., Result]]:
    """Decorate a function that makes constant tensors, as ``functools.lru_cache`` does.

    Tensors made while torch.compile or torch.export traces are not kept, as they have no values. Tensors made in
    inference mode are made as ordinary tensors, since training may need them later.

    Args:
        maxsize: number of results to keep.

    Returns:
        The decorator. The decorated function has ``cache_clear()``.
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
