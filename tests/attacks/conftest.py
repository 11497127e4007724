"""Attacks take minutes: they run where GFL_ATTACK_CASES says how many random cases of each kind there are to be."""

from __future__ import annotations

import os

import pytest


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if not os.environ.get("GFL_ATTACK_CASES"):
        for item in items:
            if "/tests/attacks/" in item.path.as_posix():
                item.add_marker(pytest.mark.skip(reason="GFL_ATTACK_CASES names no number of cases"))
