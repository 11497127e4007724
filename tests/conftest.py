"""Shared by all tests: where optional data lies, and the figures that a run prints at its end."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from cases import FIGURES, LARGEST_DIFFERENCES
from hypothesis import HealthCheck, settings

ROOT = Path(__file__).resolve().parents[1]
settings.register_profile(
    "suite", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)
settings.load_profile("suite")


@pytest.fixture(scope="session")
def root() -> Path:
    """The checkout."""
    return ROOT


@pytest.fixture(scope="session")
def gfl_data() -> Path:
    """The folder of real data, where GFL_DATA names one."""
    folder = os.environ.get("GFL_DATA")
    if not folder:
        pytest.skip("GFL_DATA names no folder with bccd/ and coco_val_boxes.json")
    return Path(folder)


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the largest differences to MMDetection that the run met, and what else it measured."""
    if LARGEST_DIFFERENCES:
        terminalreporter.section("largest differences to MMDetection")
        for name, value in sorted(LARGEST_DIFFERENCES.items()):
            terminalreporter.write_line(f"{name}: {value:.2e}")
    if FIGURES:
        terminalreporter.section("measured")
        for name, value in FIGURES.items():
            terminalreporter.write_line(f"{name}: {value}")
