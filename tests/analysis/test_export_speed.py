"""Speed of exported files: every way is measured, and only if it finds what MMDetection finds."""

from __future__ import annotations

import gfl_plugin  # noqa: F401  # isort: skip  (must precede mmdet without compiled ops)
import pytest

from gfl_plugin.analysis.benchmark import Disagreement, export_speed
from gfl_plugin.analysis.benchmark.export_speed import ExportCase

CASE = ExportCase(size=128, classes=3, above=60, runs=2, threads=1, small=True)


@pytest.mark.slow
def test_all_ways_are_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ratios are those of the turns; a file whose boxes are wrong is an error instead of a row."""
    measured = export_speed.export_speed(CASE)
    names = [row.name for row in measured if not row.name.startswith("OpenVINO")]
    assert names[:2] == ["MMDetection's head, PyTorch", "GFLHead, PyTorch"]
    assert [name.removeprefix("ONNX Runtime, ") for name in names[2:]] == [
        "boxes", "nms", "boxes, with std", "boxes, Dirac sides", "boxes, 8 bits"
    ]  # fmt: skip
    assert (measured[0].ratio, measured[0].low, measured[0].high) == (1, 1, 1)
    assert all(row.low <= row.ratio <= row.high for row in measured)
    assert measured[0].agreement != "0 detections"

    files = export_speed._files

    def swapped(*given: object) -> dict:
        return {"ONNX Runtime, boxes": files(*given)["ONNX Runtime, boxes, Dirac sides"]}

    monkeypatch.setattr(export_speed, "_files", swapped)
    with pytest.raises(Disagreement, match="ONNX Runtime, boxes: boxes"):
        export_speed.export_speed(CASE)
