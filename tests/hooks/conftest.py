"""Waits that the tests of hooks are not about are shortened."""

from __future__ import annotations

import pytest

pytest.register_assert_rewrite("hooks.recorded_training")


@pytest.fixture(autouse=True)
def _short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """PyTorch waits for worker processes that do not end by themselves; MMEngine's loop sleeps between epochs."""
    monkeypatch.setattr("torch.utils.data._utils.MP_STATUS_CHECK_INTERVAL", 0.1)
    monkeypatch.setattr("mmengine.runner.loops.time.sleep", lambda seconds: None)
