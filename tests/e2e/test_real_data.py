"""Real data, if GFL_DATA is set: BCCD, which has boxes of zero size, and objects of COCO."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from mmdet.registry import DATASETS, MODELS
from mmengine.config import Config
from mmengine.registry import init_default_scope

from gfl_plugin.analysis.benchmark import BenchmarkCase, Disagreement, agreement, build_heads, saved_bytes
from gfl_plugin.analysis.benchmark.checks import detections_agree

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.once
def test_losses_are_finite_on_bccds_boxes_of_zero_size(gfl_data: Path, monkeypatch) -> None:
    """Loss and gradient are finite on BloodImage_00338 and _00343, which have boxes of zero size."""
    monkeypatch.setenv("GFL_DATA", str(gfl_data))
    cfg = Config.fromfile(ROOT / "configs" / "bccd" / "gfl_r18_bccd.py")
    init_default_scope(cfg.default_scope)
    model = MODELS.build(cfg.model)
    pipeline = [step for step in cfg.train_dataloader.dataset.pipeline if step.type != "FilterAnnotations"]
    dirty, lengths = [], []
    for loader in (cfg.train_dataloader, cfg.val_dataloader, cfg.test_dataloader):
        dataset = DATASETS.build({**loader.dataset, "pipeline": pipeline, "test_mode": False})
        lengths.append(len(dataset))
        dirty += [
            dataset[index]
            for index in range(len(dataset))
            if dataset.get_data_info(index)["img_id"] in ("BloodImage_00338", "BloodImage_00343")
        ]
    assert lengths == [205, 87, 72]
    assert len(dirty) == 2
    boxes = torch.cat([item["data_samples"].gt_instances.bboxes.tensor for item in dirty])
    assert ((boxes[:, 2:] - boxes[:, :2]) <= 0).any()
    batch = model.data_preprocessor({key: [item[key] for item in dirty] for key in dirty[0]}, training=True)
    losses = model.loss(batch["inputs"], batch["data_samples"])
    total = sum(sum(levels) for levels in losses.values())
    total.backward()
    assert total.isfinite() and total > 0
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)


@pytest.mark.once
def test_real_objects_agree_with_mmdetection(gfl_data: Path) -> None:
    """On eight COCO images the benchmark's check succeeds, and a third of the memory is kept for backward."""
    case = BenchmarkCase.coco(gfl_data / "coco_val_boxes.json", batch=8, classes=4)
    theirs, ours = build_heads(4)
    assert set(agreement(case, theirs, ours)) == {"losses (relative)", "gradients (of the largest)"}
    assert 3 * saved_bytes(case, ours) <= saved_bytes(case, theirs)
    ours.loss_cls.loss_weight = 1.001
    with pytest.raises(Disagreement, match="losses differ by"):
        agreement(case, theirs, ours)


@pytest.mark.parametrize("maps", [lambda case: case.as_trained(300), BenchmarkCase.with_many_scores])
def test_maps_of_the_benchmark_give_mmdetections_detections(
    gfl_data: Path, maps: Callable[[BenchmarkCase], BenchmarkCase]
) -> None:
    """Both kinds of maps, like those of a trained detector, and with many scores above the threshold."""
    case = maps(BenchmarkCase.coco(gfl_data / "coco_val_boxes.json", batch=4, short=320))
    theirs, ours = build_heads(80)
    (text,) = detections_agree(case, theirs, ours)
    assert int(text.split()[2]) >= 40  # the comparison needs detections
    ours.test_cfg.nms.iou_threshold = 0.2
    with pytest.raises(Disagreement, match="detections with MMDetection"):
        detections_agree(case, theirs, ours)
