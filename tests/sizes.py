"""Numbers of cases of random tests, which GFL_TEST_SCALE multiplies (default 1).

`make test` uses the default, `make test-slow` a larger scale. conftest.py scales Hypothesis tests; other tests call
:func:`scaled` and have the marker "scaled".
"""

from __future__ import annotations

import os

SCALE = int(os.environ.get("GFL_TEST_SCALE", "1"))


def scaled(cases: int) -> int:
    """A number of cases, times GFL_TEST_SCALE."""
    return cases * SCALE
