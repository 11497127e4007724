"""Which packages with compiled kernels are there."""

from __future__ import annotations

import functools
import importlib.util


@functools.cache
def installed(package: str) -> bool:
    """Whether a package can be imported."""
    return importlib.util.find_spec(package) is not None
