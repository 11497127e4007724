"""The benchmark's rows for GFLV2 compare equal computations, and notice unequal ones."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from gfl_plugin.analysis.benchmark import Disagreement
from gfl_plugin.analysis.benchmark.case import BenchmarkCase
from gfl_plugin.analysis.benchmark.gflv2 import build_gflv2, gflv2_losses
from gfl_plugin.analysis.benchmark.gflv2_rows import _agreement


@pytest.fixture
def case(tmp_path: Path) -> BenchmarkCase:
    # No two priors are equally far from a center; which of them is nearer would be undefined.
    boxes = [[21.37, 33.91, 297.18, 203.77], [351.62, 98.46, 423.29, 377.83], [503.57, 197.14, 618.93, 304.41]]
    image = dict(height=400, width=640, boxes=boxes, labels=[0, 1, 2])
    file = tmp_path / "boxes.json"
    file.write_text(json.dumps([image, image]))
    return BenchmarkCase.coco(file, batch=2, classes=3, short=160)


def test_both_have_the_same_losses_and_gradients(case: BenchmarkCase) -> None:
    torch.manual_seed(0)
    found = _agreement(case, *build_gflv2(case.classes))
    assert len(found) == 3 and max(found.values()) < 2e-5


def test_a_wrong_weight_is_a_disagreement(case: BenchmarkCase) -> None:
    theirs, ours = build_gflv2(case.classes)
    with torch.no_grad():
        ours.layer_parameters()[2].add_(1e-2)
    with pytest.raises(Disagreement, match="GFLV2: losses"):
        _agreement(case, theirs, ours)


def test_both_joint_maps_hold_the_same_scores(case: BenchmarkCase) -> None:
    theirs, ours = build_gflv2(case.classes)
    for a, b in zip(case.cls_scores, case.bbox_preds):
        torch.testing.assert_close(ours.joint(a, b).sigmoid(), theirs.joint(a, b))
    losses = gflv2_losses(ours, case.cls_scores, case.bbox_preds, case)
    assert all(float(level) > 0 for level in losses["loss_cls"])
