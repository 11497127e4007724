"""Shortens waits that the tests of hooks do not test."""

from __future__ import annotations

import pytest

pytest.register_assert_rewrite("hooks.recorded_training")


@pytest.fixture(autouse=True)
def _short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shorten PyTorch's wait for workers that do not end, and remove MMEngine's sleep between epochs."""
    monkeypatch.setattr("torch.utils.data._utils.MP_STATUS_CHECK_INTERVAL", 0.1)
    monkeypatch.setattr("mmengine.runner.loops.time.sleep", lambda seconds: None)
