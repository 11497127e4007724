"""Kernels whose outer loop is shared by Numba's threads, or runs on the calling thread where there is only one."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from types import FunctionType, ModuleType
from typing import Any

from .numba_kernel import kernel
from .numba_threads import started_threads


def threaded(
    *, sources: Sequence[ModuleType] = (), **options: Any
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Decorate a function with a ``prange`` loop so that it runs on as many threads as PyTorch uses.

    It has two compiled forms, of which a process normally compiles one: with one thread, Numba's threads must not be
    started (see :func:`.numba_threads.set_threads`), and ``prange`` is then a ``range``.

    Args:
        sources: as of :func:`.numba_kernel.kernel`.
        **options: of ``numba.njit``, without ``cache`` and ``parallel``; ``error_model`` is "numpy".

    Returns:
        The decorator. The attribute ``forms`` of its result has both compiled forms.
    """

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        options_of_both = {"sources": sources, "error_model": "numpy", **options}
        serial = kernel(**options_of_both)(_copy(function, "serial"))
        parallel = kernel(parallel=True, **options_of_both)(_copy(function, "parallel"))

        @functools.wraps(function)
        def run(*arguments: Any) -> Any:
            return (parallel if started_threads() > 1 else serial)(*arguments)

        run.forms = (serial, parallel)  # type: ignore[attr-defined]
        return run

    return decorate


def _copy(function: Callable[..., Any], form: str) -> FunctionType:
    """The same function under another name: Numba names files on disk by module, function and line."""
    copy = FunctionType(function.__code__, function.__globals__, function.__name__, function.__defaults__)
    copy.__qualname__ = f"{function.__qualname__}_{form}"
    copy.__module__ = function.__module__
    return copy
