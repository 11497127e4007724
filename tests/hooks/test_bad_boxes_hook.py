"""Degenerate boxes do not stop training, and are reported once."""

from __future__ import annotations

import logging
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from mmengine.structures import InstanceData
from runs import a_sample, runner, samples

from gfl_plugin.hooks import BadBoxesHook
from gfl_plugin.runtime.non_finite import non_finite


def test_counts_and_reports_each_box_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
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
    said = [record.message for record in caplog.records if "degenerate" in record.message]
    assert len(said) == 2
    assert said[0].startswith("0.jpg has a degenerate box")
    assert said[1].startswith("3 degenerate boxes (zero area or not finite) in 2 images were ignored")
    assert not non_finite(run.model.state_dict().items())


def test_valid_data_gives_no_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    run = runner(tmp_path, samples(1), [dict(type="gfl_plugin.BadBoxesHook")])
    run.logger.addHandler(caplog.handler)
    run.train()
    assert not any("degenerate" in record.message for record in caplog.records)


def with_a_flat_box(seed: int) -> dict:
    """A sample whose second box has zero width."""
    item = a_sample(seed)
    item["data_samples"].gt_instances.bboxes[1, 2] = item["data_samples"].gt_instances.bboxes[1, 0]
    return item


def found_in(data_batch: Any) -> set[tuple]:
    hook = BadBoxesHook()
    hook.before_train_iter(SimpleNamespace(logger=logging.getLogger("test")), 0, data_batch)
    return hook.found


def test_counts_in_every_branch() -> None:
    """Boxes are counted in batches of semi-supervised pipelines: lists per branch, None for images of others."""
    first, second, sound = with_a_flat_box(0), with_a_flat_box(1), a_sample(2)
    branches = dict(sup=[first, None, None], unsup_teacher=[None, sound, sound], unsup_student=[None, second, sound])
    batch = {
        part: {name: [item and item[part] for item in items] for name, items in branches.items()}
        for part in ("inputs", "data_samples")
    }
    assert found_in(batch) == {("0.jpg", 1), ("1.jpg", 1)}


def test_boxes_beside_samples_without_boxes_are_counted() -> None:
    unlabelled, without_boxes, bad = (with_a_flat_box(seed)["data_samples"] for seed in range(3))
    del unlabelled.gt_instances
    without_boxes.gt_instances = InstanceData(labels=torch.zeros(2, dtype=torch.int64))
    assert found_in(dict(inputs=[], data_samples=[None, unlabelled, without_boxes, bad])) == {("2.jpg", 1)}


@pytest.mark.parametrize(
    "data_batch", [None, dict(inputs=[]), dict(data_samples=None), dict(data_samples=dict(a=None))]
)
def test_batches_without_samples(data_batch: Any) -> None:
    assert found_in(data_batch) == set()
