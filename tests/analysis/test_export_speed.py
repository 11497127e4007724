"""Speed of exported files: every way is measured, and only if it finds what MMDetection finds."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import gfl_plugin  # noqa: F401  # isort: skip  (must precede mmdet without compiled ops)
import numpy as np
import pytest
from mmengine.config import ConfigDict

from gfl_plugin.analysis.benchmark import Disagreement
from gfl_plugin.analysis.benchmark.export_speed import ExportCase, agreement_texts, export_speed
from gfl_plugin.export.runner.detect import Detections
from gfl_plugin.heads.gfl_defaults import gfl_test_cfg

FOUND = Detections(
    np.array([[0, 0, 10, 10], [20, 0, 40, 20]], np.float32), np.array([0.9, 0.8], np.float32), np.array([0, 1])
)


@pytest.mark.slow
def test_all_ways_are_measured() -> None:
    """Ratios are those of the turns: MMDetection's own is 1."""
    measured = export_speed(ExportCase(size=128, classes=3, above=60, runs=2, threads=1, small=True))
    names = [row.name for row in measured if not row.name.startswith("OpenVINO")]
    assert names[:2] == ["MMDetection's head, PyTorch", "GFLHead, PyTorch"]
    files = ["boxes", "nms", "boxes, with std", "boxes, Dirac sides", "boxes, 8 bits"]
    assert names[2:] == [f"ONNX Runtime, {name}" for name in files]
    assert (measured[0].ratio, measured[0].low, measured[0].high) == (1, 1, 1)
    assert all(row.low <= row.ratio <= row.high for row in measured)
    assert measured[0].agreement != "0 detections"


@pytest.mark.parametrize(
    "wrong",
    [
        replace(FOUND, boxes=FOUND.boxes + np.float32(0.05)),
        replace(FOUND, scores=FOUND.scores - np.float32(0.01)),
        FOUND.rows(slice(1)),
    ],
    ids=["boxes", "scores", "missing"],
)
def test_other_detections_are_an_error(wrong: Detections) -> None:
    """A file that finds something else is not timed; other sides and 8 bits may differ."""
    detector = SimpleNamespace(bbox_head=SimpleNamespace(test_cfg=ConfigDict(gfl_test_cfg())))
    ways = {"MMDetection's head, PyTorch": lambda: FOUND, "ONNX Runtime, boxes": lambda: wrong}
    with pytest.raises(Disagreement, match="ONNX Runtime, boxes: "):
        agreement_texts(ways, detector)
    ways = {"MMDetection's head, PyTorch": lambda: FOUND, "ONNX Runtime, boxes, 8 bits": lambda: wrong}
    assert agreement_texts(ways, detector) == {
        "MMDetection's head, PyTorch": "2 detections",
        "ONNX Runtime, boxes, 8 bits": "other numbers",
    }
