"""The metric in MMEngine's evaluator and in a validation; defined results without objects or detections."""

from __future__ import annotations

import copy
import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from metrics.scenes import CLASSES, instance, random_samples, sample
from mmdet.structures import DetDataSample
from mmdet.structures.bbox import HorizontalBoxes
from mmengine.dataset import pseudo_collate
from mmengine.evaluator import Evaluator
from mmengine.structures import InstanceData
from runs import model_config, runner, samples
from torch.utils.data import DataLoader

from gfl_plugin import LocalizationQualityMetric

ERRORS = ("LaECE", "LaECE_0", "LaACE_0", "D-ECE")
LRP = [f"{prefix}LRP{part}" for prefix in ("", "o") for part in ("", "_loc", "_FP", "_FN")]
CORRELATIONS = ("Pearson", "Spearman", "Pearson_all", "Spearman_all")
NAMES = {*ERRORS, *LRP, "oLRP_score", *CORRELATIONS, "non_finite"}


def values_of(images: list[dict], **config: object) -> dict[str, float]:
    """The values of a metric, where any warning of NumPy is an error."""
    metric = LocalizationQualityMetric(**config)
    with np.errstate(all="raise"):
        metric.process(None, images)
        return metric.compute_metrics(metric.results)


def as_data_samples(images: list[dict]) -> list[DetDataSample]:
    """The images as a model returns them, with ground truth as ``PackDetInputs`` stores it."""
    found = []
    for image in images:
        one = DetDataSample(metainfo=dict(img_id=image["img_id"]))
        one.pred_instances = InstanceData(**image["pred_instances"])
        for name, ignored in (("gt_instances", 0), ("ignored_instances", 1)):
            entries = [entry for entry in image["instances"] if entry["ignore_flag"] == ignored]
            boxes = torch.tensor([entry["bbox"] for entry in entries], dtype=torch.float64).reshape(-1, 4)
            labels = torch.tensor([entry["bbox_label"] for entry in entries], dtype=torch.int64)
            one.set_data({name: InstanceData(bboxes=HorizontalBoxes(boxes), labels=labels)})
        found.append(one)
    return found


@settings(max_examples=20)
@given(seed=st.integers(0, 2**31), score_thr=st.sampled_from([0.0, 0.4]))
def test_the_order_does_not_matter(seed: int, score_thr: float) -> None:
    """Neither of images, nor of detections, objects and classes."""
    random = np.random.default_rng(seed)
    images = random_samples(seed)
    shuffled = copy.deepcopy(images)
    random.shuffle(shuffled)
    classes = random.permutation(CLASSES)
    for image in shuffled:
        order = random.permutation(len(image["pred_instances"]["scores"]))
        image["pred_instances"] = {name: values[order] for name, values in image["pred_instances"].items()}
        image["pred_instances"]["labels"] = torch.from_numpy(classes)[image["pred_instances"]["labels"]]
        random.shuffle(image["instances"])
        for entry in image["instances"]:
            entry["bbox_label"] = int(classes[entry["bbox_label"]])
    expected = values_of(images, score_thr=score_thr)
    assert set(expected) == NAMES
    assert values_of(shuffled, score_thr=score_thr) == pytest.approx(expected, abs=1e-12, nan_ok=True)


def test_both_forms_of_ground_truth_are_the_same() -> None:
    """``instances`` of the annotation file, and the instances that ``PackDetInputs`` stores."""
    images = random_samples(3, images=6)
    evaluator = Evaluator([dict(type="gfl_plugin.LocalizationQualityMetric")])
    evaluator.process(as_data_samples(images))
    expected = {f"quality/{name}": value for name, value in values_of(images).items()}
    assert evaluator.evaluate(size=6) == pytest.approx(expected)


def test_detections_that_are_not_finite_are_counted_and_left_out() -> None:
    images = random_samples(5, images=4)
    expected = values_of(images)
    for image in images:
        predicted = image["pred_instances"]
        boxes = torch.tensor([[0.0, 0, 9, 9], [0, 0, math.nan, 9], [0, -math.inf, 9, 9]], dtype=torch.float64)
        scores = torch.tensor([math.nan, 0.9, 0.8], dtype=torch.float64)
        image["pred_instances"] = dict(
            bboxes=torch.cat([predicted["bboxes"], boxes]),
            scores=torch.cat([predicted["scores"], scores]),
            labels=torch.cat([predicted["labels"], torch.tensor([0, 1, 2])]),
        )
    assert values_of(images) == pytest.approx({**expected, "non_finite": 12.0})


BOX = np.array([[10.0, 10, 50, 50]])


def test_no_detections() -> None:
    """All objects are missed: LRP is 1. The other values are not defined."""
    values = values_of([sample(np.zeros((0, 4)), [], [], [instance(BOX[0])])])
    defined = {name: value for name, value in values.items() if not math.isnan(value)}
    assert defined == {"LRP": 1, "LRP_FN": 1, "oLRP": 1, "oLRP_FN": 1, "non_finite": 0}


def test_no_objects() -> None:
    """All detections are false positives: each error is the mean score. LRP has no class to average."""
    values = values_of([sample(np.repeat(BOX, 2, axis=0), [0.3, 0.5], [0, 0], [])])
    defined = {name: value for name, value in values.items() if not math.isnan(value)}
    assert defined == pytest.approx({**dict.fromkeys(ERRORS, 0.4), "non_finite": 0})


@pytest.mark.parametrize("images", [[], [sample(np.zeros((0, 4)), [], [], [])]])
def test_neither_objects_nor_detections(images: list[dict]) -> None:
    values = values_of(images)
    assert values.pop("non_finite") == 0
    assert set(values) == NAMES - {"non_finite"}
    assert all(map(math.isnan, values.values()))


def test_detections_in_a_crowd_count_neither_as_true_nor_as_false() -> None:
    """A detection of another class in the same place is a false positive."""
    crowd = instance(np.array([0.0, 0, 100, 100]), ignored=True)
    objects = [instance(BOX[0]), crowd]
    boxes = np.concatenate([BOX, BOX + 40, BOX + 30])
    values = values_of([sample(boxes, [1.0, 0.9, 0.8], [0, 0, 0], objects)])
    assert (values["LaACE_0"], values["D-ECE"], values["LRP"], values["LRP_FP"]) == (0, 0, 0, 0)
    values = values_of([sample(boxes, [1.0, 0.9, 0.8], [0, 1, 1], objects)])
    assert values["LaACE_0"] == pytest.approx((0 + 0.85) / 2)


def test_score_threshold_and_number_of_detections() -> None:
    """The two false positives are below the threshold, and not among the two best of their class."""
    boxes, scores = np.concatenate([BOX, BOX + 200, BOX + 300, BOX + 400]), [0.8, 0.9, 0.2, 0.1]
    objects = [instance(BOX[0]), instance(BOX[0] + 200)]
    images = [sample(boxes, scores, [0, 0, 0, 0], objects)]
    for config in (dict(score_thr=0.3), dict(max_dets=2)):
        values = values_of(images, **config)
        assert (values["LRP"], values["D-ECE"]) == pytest.approx((0, 0.15))
    assert values_of(images)["LRP"] == 0.5


def test_a_validation_logs_the_values(tmp_path: Path) -> None:
    """Beside CocoMetric, in scalars.json, which MMEngine's other visualizer backends get, too."""
    items = samples(batches=2)
    for item in items:
        boxes, labels = (item["data_samples"].gt_instances[name].tolist() for name in ("bboxes", "labels"))
        entries = [instance(box, label) for box, label in zip(boxes, labels)]
        item["data_samples"].set_metainfo(dict(instances=entries))
    seen: list[dict] = []

    class RecordedMetric(LocalizationQualityMetric):
        def process(self, data_batch: object, data_samples: list[dict]) -> None:
            seen.extend(copy.deepcopy(data_samples))
            super().process(data_batch, data_samples)

    model = model_config()
    model["test_cfg"]["score_thr"] = 0.0  # an untrained head gives scores below the usual threshold
    run = runner(
        tmp_path,
        items,
        hooks=[],
        model=model,
        val_dataloader=DataLoader(items, batch_size=2, collate_fn=pseudo_collate),
        val_cfg=dict(),
        val_evaluator=[dict(type="CocoMetric", metric="bbox"), RecordedMetric(iou_thr=0.1)],
        visualizer=dict(type="Visualizer", vis_backends=[dict(type="LocalVisBackend")], save_dir=str(tmp_path)),
    )
    run.val_evaluator.dataset_meta = dict(classes=tuple("0123456789"))
    run.train()
    (path,) = tmp_path.rglob("scalars.json")
    logged = [json.loads(line) for line in path.read_text().splitlines()]
    (logged,) = [line for line in logged if "coco/bbox_mAP" in line]
    expected = {f"quality/{name}": value for name, value in values_of(seen, iou_thr=0.1).items()}
    assert len(seen) == len(items)
    assert sum(len(one["pred_instances"]["scores"]) for one in seen) > 0
    assert {name: logged[name] for name in expected} == pytest.approx(expected, nan_ok=True)
    assert 0 < logged["quality/LaACE_0"] < 1
    assert 0 < logged["quality/LRP"] < 1


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (dict(iou_thr=1.0), "iou_thr is 1.0; it must be a number between 0 and 1"),
        (dict(iou_thr=0), "iou_thr is 0"),
        (dict(bins=0), "bins is 0; it must be an integer >= 1"),
        (dict(bins=2.5), "bins is 2.5"),
        (dict(score_thr=-0.1), "score_thr is -0.1; it must be a number in"),
        (dict(max_dets=0), "max_dets is 0"),
    ],
)
def test_mistakes(config: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        LocalizationQualityMetric(**config)


def test_ground_truth_is_missing() -> None:
    image = sample(BOX, [0.5], [0], [])
    del image["instances"]
    with pytest.raises(ValueError, match=r'in image 0; add dict\(type="LoadAnnotations", with_bbox=True\)'):
        LocalizationQualityMetric().process(None, [{**image, "gt_instances": {}}])
