"""Boxes nobody can learn: training goes on, and says so once."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from mmengine.structures import InstanceData
from runs import runner, samples

from gfl_plugin.hooks import BadBoxesHook
from gfl_plugin.runtime.step_record import non_finite


def test_counts_each_box_once_and_says_so_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    items = samples(2)
    bad = torch.tensor([[5.0, 5.0, 5.0, 9.0], [7.0, 9.0, 3.0, 12.0], [float("nan"), 0.0, 3.0, 4.0]])
    for item, rows in ((items[0], bad[:1]), (items[3], bad[1:])):
        sample = item["data_samples"]
        labels = torch.zeros(len(rows), dtype=torch.int64)
        sample.gt_instances = InstanceData.cat([sample.gt_instances, InstanceData(bboxes=rows, labels=labels)])
    run = runner(tmp_path, items, [dict(type="gfl_plugin.BadBoxesHook")], epochs=2)
    run.logger.addHandler(caplog.handler)
    run.train()
    (hook,) = (hook for hook in run.hooks if isinstance(hook, BadBoxesHook))
    assert len(hook.found) == 3
    said = [record.message for record in caplog.records if "without an area" in record.message]
    assert len(said) == 2
    assert said[0].startswith("0.jpg has a box")
    assert said[1].startswith("3 boxes without an area or not finite were ignored, in 2 images")
    assert not non_finite(run.model.state_dict().items())


def test_says_nothing_of_good_data(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    run = runner(tmp_path, samples(1), [dict(type="gfl_plugin.BadBoxesHook")])
    run.logger.addHandler(caplog.handler)
    run.train()
    assert not any("without an area" in record.message for record in caplog.records)
