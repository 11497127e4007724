"""Rows of prediction are those of paired calls on the same maps, and come only if the detections agree."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from mmdet.models.dense_heads import GFLHead

from gfl_plugin.analysis.benchmark import BenchmarkCase, Disagreement, MachineLimits, Settings
from gfl_plugin.analysis.benchmark.prediction_rows import prediction_rows

LIMITS = MachineLimits(copy_bandwidth=1e9, exp_rate=1e9, product_rate=1e9)


def settings(gfl_data: Path) -> Settings:
    return Settings(gfl_data / "coco_val_boxes.json", batch=1, classes=3, above=50, runs=3)


def test_ratios_and_floor(gfl_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a clock that counts MMDetection's calls as 6 s and others as 2 s, and memory that reads 1 GB per second."""

    def clock(call, device: str) -> float:
        return 6.0 if type(call.func.__self__) is GFLHead else 2.0

    monkeypatch.setattr("gfl_plugin.analysis.benchmark.paired_cost.seconds", clock)
    logits = sum(level.numel() for level in settings(gfl_data).case().cls_scores)
    for name, row in zip(
        ("predict_by_feat", "predict_by_feat, many scores"),
        prediction_rows(settings(gfl_data), LIMITS, lambda name: None),
        strict=True,
    ):
        assert (row.name, row.ratio, row.low, row.high) == (name, 3.0, 3.0, 3.0)
        assert row.floor == pytest.approx(1000 * 4 * logits / 1e9)


def test_no_row_without_agreement(gfl_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gfl_plugin.heads.postprocess.nms", lambda boxes, *others, **named: torch.arange(len(boxes)))
    with pytest.raises(Disagreement):
        next(prediction_rows(settings(gfl_data), LIMITS, lambda name: None))


@pytest.mark.parametrize("classes", [1, 300])
def test_many_scores_of_an_image_are_above_the_threshold_and_differ(gfl_data: Path, classes: int) -> None:
    """Their number is that of N(-6, 1.2²) above -2.94, and no two of the fp32 scores of an image are equal."""
    case = BenchmarkCase.coco(gfl_data / "coco_val_boxes.json", batch=2, classes=classes, short=400).with_many_scores()
    expected = 0.5 * torch.erfc(torch.tensor((6 - 2.944439) / 1.2 / 2**0.5))
    for image in range(2):
        scores = torch.cat([level[image].flatten() for level in case.cls_scores]).sigmoid()
        above = scores[scores > 0.05]
        assert len(above) / len(scores) == pytest.approx(float(expected), rel=0.25)
        assert len(above.unique()) == len(above)
