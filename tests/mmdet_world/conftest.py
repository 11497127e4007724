"""Small data and weights for MMDetection's tools."""

from __future__ import annotations

from pathlib import Path

import gfl_plugin  # noqa: F401  # isort: skip  (must precede mmdet without compiled ops)
import pytest
import torch
from runs import confident_detector

from gfl_plugin.demo.dataset import DemoSize, make_dataset

ROOT = Path(__file__).resolve().parents[2]
CONFIG = ROOT / "configs" / "demo" / "gfl_r18_demo.py"


@pytest.fixture(scope="session")
def demo_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four images for training, and four for validation."""
    return make_dataset(tmp_path_factory.mktemp("demo") / "data", DemoSize(train=4, val=4, side=64))


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights with detections in every image: all scores are above the threshold, and boxes are small."""
    model = confident_detector(CONFIG)
    bins = torch.arange(model.bbox_head.gfl_reg.out_channels // 4)
    model.bbox_head.gfl_reg.bias.data = -bins.float().repeat(4)
    path = tmp_path_factory.mktemp("weights") / "weights.pth"
    meta = dict(dataset_meta=dict(classes=tuple("0123456789")))
    torch.save({"state_dict": model.state_dict(), "meta": meta}, path)
    return path
