"""Sizes of tests with random cases: GFL_TEST_SCALE, 1 by default, multiplies them.

`make test` runs them as they are, `make test-slow` larger. For Hypothesis tests conftest.py does it; others call
:func:`scaled` and have the marker "scaled".
"""

from __future__ import annotations

import os

SCALE = int(os.environ.get("GFL_TEST_SCALE", "1"))


def scaled(cases: int) -> int:
    """A number of cases, times GFL_TEST_SCALE."""
    return cases * SCALE
