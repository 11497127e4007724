"""Results in other formats have the numbers of the detections, and the fields about box sides in the same order."""

from __future__ import annotations

import importlib
import json
from pathlib import Path

import gfl_plugin  # isort: skip
import numpy as np
import pytest
import torch
from mmdet.registry import METRICS, MODELS
from mmdet.structures import DetDataSample
from mmengine.config import Config
from mmengine.structures import InstanceData
from PIL import Image

from gfl_plugin.heads.box_intervals import calibration_text, fingerprint, population_of
from gfl_plugin.runtime.install_advice import MissingPackageError
from gfl_plugin.structures.calibration import Calibration

BBOX_STD, *INTERVALS = ("bbox_std", "bbox_inner", "bbox_outer")
FIELDS = (BBOX_STD, "bbox_distributions", "bbox_points", *INTERVALS)
CLASSES = ("a", "b", "c")


def sample(number: int, count: int, with_fields: bool = True) -> DetDataSample:
    """Random detections of an image."""
    corner = torch.rand(count, 2) * 80
    found = InstanceData(
        bboxes=torch.cat([corner, corner + 5 + torch.rand(count, 2) * 40], dim=1),
        scores=torch.rand(count),
        labels=torch.randint(0, 3, (count,)),
    )
    if with_fields:
        found.bbox_std = torch.rand(count, 4)
        found.bbox_distributions = torch.rand(count, 4, 17).softmax(dim=2)
        found.bbox_points = torch.rand(count, 4)
        found.bbox_inner, found.bbox_outer = found.bboxes + torch.rand(count, 4), found.bboxes - torch.rand(count, 4)
    meta = dict(img_id=number, ori_shape=(100, 150), img_path=f"images/{number}.jpg")
    truth = [dict(bbox=[10.0, 10.0, 60.0, 50.0 + number], bbox_label=number % 3, ignore_flag=0)]
    return DetDataSample(metainfo={**meta, "instances": truth}, pred_instances=found)


def test_json_gives_the_same_numbers_back() -> None:
    one = sample(1, 30)
    read = json.loads(json.dumps(gfl_plugin.detections_to_dict(one)))
    assert set(read) == set(one.pred_instances.keys())
    for name, values in one.pred_instances.items():
        assert torch.equal(torch.tensor(read[name], dtype=values.dtype), values), name
    assert set(gfl_plugin.detections_to_dict(sample(1, 3, with_fields=False))) == {"bboxes", "scores", "labels"}


def coco_metric(scope: str, folder: Path):
    metric = METRICS.build(dict(type=f"{scope}.CocoMetric", metric="bbox", outfile_prefix=str(folder / scope)))
    metric.dataset_meta = dict(classes=CLASSES)
    return metric


@pytest.mark.parametrize("with_fields", [True, False])
def test_coco_files(with_fields: bool, tmp_path: Path) -> None:
    """Metrics and files are MMDetection's, and each detection has its own standard deviations and intervals."""
    samples = [sample(number, count, with_fields) for number, count in enumerate((5, 0, 12, 3))]
    values = {}
    for scope in ("mmdet", "gfl_plugin"):
        metric = coco_metric(scope, tmp_path)
        for batch in (samples[:3], [], samples[3:]):
            metric.process({}, [one.to_dict() for one in batch])
        values[scope] = metric.evaluate(size=len(samples))
    assert values["mmdet"] == values["gfl_plugin"] and "coco/bbox_mAP" in values["mmdet"]
    theirs, ours = (json.loads((tmp_path / f"{scope}.bbox.json").read_text()) for scope in ("mmdet", "gfl_plugin"))
    written = {name: [entry.pop(name, None) for entry in ours] for name in (BBOX_STD, *INTERVALS)}
    assert theirs == ours and len(ours) == 20
    for name, found in written.items():
        if with_fields:
            expected = torch.cat([one.pred_instances[name] for one in samples])
            assert torch.equal(torch.tensor(found), expected), name
        else:
            assert found == [None] * 20


def test_coco_files_have_intervals_without_standard_deviations(tmp_path: Path) -> None:
    """The fields do not depend on each other."""
    samples = [sample(number, count) for number, count in enumerate((2, 3))]
    for one in samples:
        del one.pred_instances.bbox_std
    metric = coco_metric("gfl_plugin", tmp_path)
    metric.process({}, [one.to_dict() for one in samples])
    metric.evaluate(size=2)
    written = json.loads((tmp_path / "gfl_plugin.bbox.json").read_text())
    expected = torch.cat([one.pred_instances.bbox_outer for one in samples])
    assert torch.equal(torch.tensor([entry["bbox_outer"] for entry in written]), expected)
    assert not any(BBOX_STD in entry for entry in written)


def small_detector(folder: Path) -> dict:
    """The demo's config, with a threshold that random weights exceed, all fields about box sides, and weights."""
    config = Config.fromfile(gfl_plugin.find_config("gfl_plugin::demo/gfl_r18_demo.py"))
    config.model.test_cfg.update(score_thr=1e-6, max_per_img=7, with_uncertainty=True, with_distributions=True)
    model = MODELS.build(config.model)
    torch.save(model.state_dict(), folder / "weights.pth")
    calibration = Calibration(
        level=0.9,
        statement="box",
        unit="constant",
        quantiles={"all": (1.0, 2.0, 3.0, 4.0)},
        classes=tuple("0123456789"),
        head=fingerprint(model.bbox_head),
        iou_thr=0.5,
        test_cfg=population_of(model.bbox_head.test_cfg),
    )
    (folder / "calibration.json").write_text(calibration_text(calibration))
    config.model.test_cfg.intervals = str(folder / "calibration.json")
    return dict(model=config, weights=str(folder / "weights.pth"), device="cpu", show_progress=False)


def test_the_inferencers_predictions_and_files(tmp_path: Path) -> None:
    """Both are those of MMDetection's inferencer with the fields of the data samples."""
    from mmdet.apis import DetInferencer

    images = [str(tmp_path / f"{name}.png") for name in ("one", "two")]
    for seed, path in enumerate(images):
        Image.fromarray(np.random.default_rng(seed).integers(0, 255, (90, 120, 3), dtype=np.uint8)).save(path)
    given = small_detector(tmp_path)
    theirs, ours = DetInferencer(**given), gfl_plugin.DetInferencer(**given)
    quiet = dict(no_save_vis=True, no_save_pred=False)
    expected = theirs(images, out_dir=str(tmp_path / "theirs"), **quiet)["predictions"]
    found = ours(images, out_dir=str(tmp_path / "ours"), **quiet)["predictions"]
    samples = theirs(images, return_datasamples=True)["predictions"]
    assert len(expected) == len(found) == 2
    for name, one, other, data_sample in zip(("one", "two"), expected, found, samples):
        written = json.loads((tmp_path / "ours" / "preds" / f"{name}.json").read_text())
        assert written == other == gfl_plugin.detections_to_dict(data_sample)
        assert {field: values for field, values in other.items() if field not in FIELDS} == one
        assert json.loads((tmp_path / "theirs" / "preds" / f"{name}.json").read_text()) == one
        assert [len(other[field]) for field in FIELDS] == [7] * 5
        outward = torch.tensor(other["bbox_outer"]) - torch.tensor(other["bboxes"])
        assert torch.allclose(outward, torch.tensor([-1.0, -2, 3, 4]), atol=1e-4)
    assert [path.name for path in sorted((tmp_path / "ours" / "preds").iterdir())] == ["one.json", "two.json"]


def test_supervision() -> None:
    """Fields stay with their box in supervision's filters."""
    one = sample(1, 30)
    found = gfl_plugin.to_supervision(one)
    kept = found[found.confidence > 0.5]
    better = one.pred_instances.scores > 0.5
    for rows, detections in ((slice(None), found), (better, kept)):
        expected = one.pred_instances[rows]
        assert np.array_equal(detections.xyxy, expected.bboxes.numpy())
        assert np.array_equal(detections.confidence, expected.scores.numpy())
        assert np.array_equal(detections.class_id, expected.labels.numpy())
        for name in FIELDS:
            assert np.array_equal(detections.data[name], expected[name].numpy())
    assert 0 < len(kept) < 30
    assert not gfl_plugin.to_supervision(sample(1, 3, with_fields=False)).data
    assert len(gfl_plugin.to_supervision(sample(1, 0))) == 0


def test_without_supervision_the_error_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> object:
        raise ModuleNotFoundError(f"No module named {name!r}")

    monkeypatch.setattr(importlib, "import_module", missing)
    with pytest.raises(MissingPackageError, match=r"supervision is not installed; install it by: pip install .*demo"):
        gfl_plugin.to_supervision(sample(1, 3))
