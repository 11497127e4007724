"""The benchmark's rows for localization distillation compare equal computations, and notice unequal ones."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gfl_plugin.analysis.benchmark import Disagreement
from gfl_plugin.analysis.benchmark.case import BenchmarkCase
from gfl_plugin.analysis.benchmark.ld_rows import build_students, ld_agreement


@pytest.fixture
def case(tmp_path: Path) -> BenchmarkCase:
    # No two priors are equally far from a center; which of them is nearer would be undefined.
    boxes = [[21.37, 33.91, 297.18, 203.77], [351.62, 98.46, 423.29, 377.83], [503.57, 197.14, 618.93, 304.41]]
    image = dict(height=400, width=640, boxes=boxes, labels=[0, 1, 2])
    file = tmp_path / "boxes.json"
    file.write_text(json.dumps([image, image]))
    return BenchmarkCase.coco(file, batch=2, classes=3, short=160)


def test_both_have_the_same_losses_and_gradients(case: BenchmarkCase) -> None:
    theirs, ours = build_students(case)
    loss = theirs.head.loss_ld
    ld_agreement(case, theirs, ours)
    assert theirs.head.loss_ld is loss  # the times are those of MMDetection's own loss


def test_another_temperature_is_a_disagreement(case: BenchmarkCase) -> None:
    theirs, ours = build_students(case)
    ours.head.loss_ld.T = 9.9
    with pytest.raises(Disagreement, match="losses differ by"):
        ld_agreement(case, theirs, ours)
