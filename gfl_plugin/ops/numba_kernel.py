"""The decorator of Numba kernels, which keeps their machine code on disk.

Compiling takes seconds. Numba's own cache (``cache=True``) is used with three additions: a folder that cannot be
written, a full disk or a damaged file never stop a run, and an entry is used only for the key it was written for.

What Numba's key contains: the file of the kernel, its argument types, Numba's version and the CPU with its features.
It does not contain other files, so a kernel's helper functions and constants must be in the kernel's own file, or in
modules that are named by ``sources``.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from numba import njit
from numba.core.caching import FunctionCache

_logger = logging.getLogger(__name__)


def kernel(*, sources: Sequence[ModuleType] = (), **options: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Decorate a function as ``numba.njit(cache=True, **options)`` does.

    Use it for functions that Python calls, and :func:`inlined` for the functions that those call.

    Args:
        sources: other modules with functions or constants that the compiled code uses.
        **options: of ``numba.njit``, without ``cache``.

    Returns:
        The decorator.
    """

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        dispatcher = njit(**options)(function)
        if not hasattr(dispatcher, "enable_caching"):  # NUMBA_DISABLE_JIT=1 gives the function itself
            return dispatcher
        try:
            dispatcher._cache = _Cache(function, sources)
        except Exception as error:  # no folder can be written; or a Numba version whose cache works differently
            _logger.debug("%s is compiled in each process: %r", function.__name__, error)
        return dispatcher

    return decorate


def inlined(**options: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Decorate a function that kernels call, so that each kernel contains its code.

    Otherwise a kernel would calculate slightly different sums in the process that compiles it and in one that reads it
    from disk. In the first, such a function is a compiled function of its own, in the second a part of the kernel that
    was optimized once more: wherever sums may be reordered, their last digits depend on it.

    Args:
        **options: of ``numba.njit``; ``error_model`` is "numpy".

    Returns:
        The decorator.
    """
    return njit(error_model="numpy", forceinline=True, **options)


class _Cache(FunctionCache):
    """Numba's cache of one function, which treats every disk error as "not cached"."""

    def __init__(self, function: Callable[..., Any], sources: Sequence[ModuleType]) -> None:
        super().__init__(function)
        stamp = self._impl.locator.get_source_stamp()
        files = [Path(file).stat() for file in (__file__, *(module.__file__ for module in sources))]
        stamp = (stamp, *((file.st_mtime, file.st_size) for file in files))
        self._cache_file = _CheckedFile(self._cache_file, stamp)

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """See Numba; None if there is no such entry, or none that can be read."""
        try:
            return super().load_overload(sig, target_context)
        except Exception as error:  # unpickling a damaged file can raise anything
            _logger.warning("compiled again, as %s cannot be read: %r", self.cache_path, error)
            self._reset()
            return None

    def save_overload(self, sig: Any, data: Any) -> None:
        """See Numba; a kernel that cannot be saved is still used."""
        try:
            super().save_overload(sig, data)
        except Exception as error:
            _logger.warning(
                "a compiled kernel was not saved in %s (%r), so the next process compiles it again. Set "
                "NUMBA_CACHE_DIR to a folder with free space that you can write to",
                self.cache_path,
                error,
            )

    def _reset(self) -> None:
        """Replace the index by an empty one; otherwise the next process would read the damaged one again."""
        try:
            self.flush()
        except OSError:  # kernels cannot be saved here later, either
            _logger.debug("%s cannot be written", self.cache_path)


class _CheckedFile:
    """Numba's index and data files, with the key stored beside the data.

    Numba numbers data files in an index that processes overwrite one after another. If two of them save different
    entries at the same time, such as for the CPUs of two machines that share a home folder, the index of one may name
    the data of the other.
    """

    def __init__(self, file: Any, stamp: object) -> None:
        self._file = file
        self._stamp = stamp

    def save(self, key: Any, data: Any) -> None:
        self._file.save(key, (self._stamp, key, data))

    def load(self, key: Any) -> Any:
        found = self._file.load(key)
        if found is None or found[:2] != (self._stamp, key):
            return None
        return found[2]

    def flush(self) -> None:
        self._file.flush()
