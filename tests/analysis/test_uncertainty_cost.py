"""The cost of the fields about box sides is that of paired runs."""

from pathlib import Path

import pytest

from gfl_plugin.analysis.benchmark import Settings, uncertainty_cost


def test_ratios_are_those_of_the_pairs(gfl_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a clock that counts calls with fields as 3 s and others as 2 s, each ratio is 1.5."""

    def clock(call, device: str) -> float:
        (found,) = call()
        return 3.0 if {"bbox_std", "bbox_outer"} & set(found.keys()) else 2.0

    monkeypatch.setattr("gfl_plugin.analysis.benchmark.paired_cost.seconds", clock)
    settings = Settings(gfl_data / "coco_val_boxes.json", batch=1, classes=2, above=10, runs=3)
    costs = uncertainty_cost(settings)
    assert len(costs) == 3
    for cost in costs:
        assert (cost.first, cost.second, cost.ratio, cost.low, cost.high) == (2.0, 3.0, 1.5, 1.5, 1.5)
