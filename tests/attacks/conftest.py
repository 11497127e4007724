"""Attacks take minutes and run in `make test-slow`. GFL_ATTACK_CASES is the number of random cases per kind."""

from __future__ import annotations

import os

import pytest


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "/tests/attacks/" in item.path.as_posix():
            item.add_marker(pytest.mark.slow)
            if not os.environ.get("GFL_ATTACK_CASES"):
                item.add_marker(pytest.mark.skip(reason="GFL_ATTACK_CASES is not set"))
