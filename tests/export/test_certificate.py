"""The certificate: it passes for every kind of file, and fails for a file that is only slightly wrong."""

from __future__ import annotations

import argparse
import json
import shutil
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass, replace
from pathlib import Path

import gfl_plugin  # noqa: F401  # isort: skip  (must precede mmdet without compiled ops)
import numpy as np
import onnx
import pytest
import torch
from export.made_models import DESCRIPTION
from export.tiny_detectors import config_of, detector_of
from labelled_folders import CLASSES, Split, truths, write_coco
from mmengine.config import Config
from onnx import numpy_helper
from torch import nn

from gfl_plugin.analysis.progress import output_console, progress_display
from gfl_plugin.commands import export
from gfl_plugin.export.certificate import Case, Certificate
from gfl_plugin.export.certificate_files import JSON, PAGE, as_json, write_certificate
from gfl_plugin.export.certify import CertificateRequest, certify
from gfl_plugin.export.detection_difference import Difference, difference
from gfl_plugin.export.export_model import ExportRequest, export_model, write_model
from gfl_plugin.export.model_description import KEY, ModelDescription
from gfl_plugin.export.runner.detect import Detections
from gfl_plugin.export.selection_limits import Limits

META_KEYS = ("img_id", "img_path", "ori_shape", "img_shape", "scale_factor")
PIPELINE = [
    dict(type="LoadImageFromFile"),
    dict(type="Resize", scale=(80, 70), keep_ratio=True),
    dict(type="LoadAnnotations", with_bbox=True),
    dict(type="PackDetInputs", meta_keys=META_KEYS),
]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("data")
    write_coco(root, Split("val", truths(4)))
    return root


def config(data: Path, head: str, classes: int = 2, **changes: object) -> Config:
    """A config with images and labels."""
    cfg = config_of(head, classes, PIPELINE, **changes)
    dataset = dict(
        type="CocoDataset",
        data_root=str(data),
        ann_file="annotations/instances_val.json",
        data_prefix=dict(img="val/"),
        metainfo=dict(classes=CLASSES[:classes]),
        test_mode=True,
        pipeline=PIPELINE,
    )
    sampler = dict(type="DefaultSampler", shuffle=False)
    cfg.val_dataloader = dict(batch_size=2, num_workers=0, sampler=sampler, dataset=dataset)
    return cfg


@dataclass(frozen=True)
class Exported:
    """A file and what it was made from."""

    cfg: Config
    model: nn.Module
    path: Path


def exported(cfg: Config, folder: Path, **request: object) -> Exported:
    model = detector_of(cfg)
    return Exported(cfg, model, write_model(export_model(model, cfg, ExportRequest(**request)), folder))


def certified(own: Exported, path: Path | None = None, images: int = 50) -> Certificate:
    return certify(path or own.path, own.model, own.cfg, CertificateRequest(images=images))


@pytest.fixture(scope="module")
def whole(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """A file with boxes, scores, labels and standard deviations."""
    return exported(config(data, "joint"), tmp_path_factory.mktemp("model"), with_std=True)


def check(found: Certificate) -> dict[str, Difference]:
    """The cases of a certificate that passes, with detections in those in which there should be some."""
    assert found.passes, [case for case in found.cases if not case.passes]
    by_name = {case.name: case.difference for case in found.cases}
    assert by_name["one by one"].detections > 2
    assert any("unlike sizes" in name and own.detections > 2 for name, own in by_name.items())
    assert by_name["no object (noise)"].images == 1
    assert set(found.ap) == {"PyTorch", "ONNX Runtime", "detect.py"}
    if found.pixels is None:  # otherwise PyTorch's AP is that of images that OpenCV has resized
        assert found.ap["PyTorch"] == pytest.approx(found.ap["ONNX Runtime"], abs=0.01)
    return by_name


def test_a_file_passes_and_the_runner_finds_the_same_in_the_image_files(whole: Exported):
    done = []
    before = dict(whole.model.bbox_head.test_cfg)
    found = certify(
        whole.path, whole.model, whole.cfg, CertificateRequest(images=3), lambda *numbers: done.append(numbers)
    )
    by_name = check(found)
    assert done == [(1, 3), (2, 3), (3, 3)]
    assert (found.total, by_name["one by one"].images) == (4, 3)
    assert by_name["one by one"].std is not None and by_name["a batch of unlike sizes"].images == 3
    assert found.from_files is not None and found.from_files.passes
    assert whole.model.bbox_head.test_cfg == before


@pytest.mark.parametrize(
    ("head", "classes", "request_"),
    [
        ("gflv2", 1, dict(contract="nms", preprocessing="normalize", with_std=True)),
        ("branch_dirac", 2, dict(preprocessing="resize")),
        ("joint", 2, dict(contract="raw", preprocessing="resize")),
    ],
)
def test_files_of_all_forms_pass(head: str, classes: int, request_: Mapping, data: Path, tmp_path: Path):
    found = certified(exported(config(data, head, classes), tmp_path, **request_))
    by_name = check(found)
    assert (found.pixels is None) == (request_["preprocessing"] != "resize")
    assert (by_name["one by one"].std is None) == ("with_std" not in request_)
    assert by_name["a batch of one size"].detections > 2


def test_images_without_anything_above_the_threshold_pass(whole: Exported, tmp_path: Path):
    proto = onnx.load(whole.path)
    values = {one.key: one.value for one in proto.metadata_props}
    about = ModelDescription.from_json(values[KEY])
    onnx.helper.set_model_props(proto, {KEY: replace(about, score_threshold=0.9999).to_json()})
    onnx.save(proto, tmp_path / "model.onnx")
    model = deepcopy(whole.model)
    model.bbox_head.test_cfg.score_thr = 0.9999
    found = certify(tmp_path / "model.onnx", model, whole.cfg, CertificateRequest())
    assert found.passes
    assert [case.difference.detections for case in found.cases] == [0, 0, 0]
    assert found.ap["ONNX Runtime"] == 0


def check_in_command(own: Exported, out: Path, images: int = 2) -> int:
    """The part of the command that follows the export."""
    arguments = argparse.Namespace(out=out, split="val", images=images)
    with progress_display(output_console()) as display:
        return export._certified(arguments, own.model, own.cfg, display)


def test_the_command_writes_the_certificate_and_fails_with_it(
    whole: Exported, tmp_path: Path, capsys: pytest.CaptureFixture
):
    shutil.copy(whole.path, tmp_path)
    assert check_in_command(whole, tmp_path) == 0
    assert {path.name for path in tmp_path.iterdir()} == {"model.onnx", JSON, PAGE}
    assert (tmp_path / PAGE).read_text() in capsys.readouterr().out
    changed(whole.path, "gfl_cls.weight", 1.01, tmp_path / "model.onnx")
    assert check_in_command(whole, tmp_path) == 1
    assert json.loads((tmp_path / JSON).read_text())["passes"] is False
    assert capsys.readouterr().out.splitlines()[-1].endswith(f"not those of PyTorch: {tmp_path / PAGE}")


def test_a_config_without_the_split_is_an_error(whole: Exported):
    with pytest.raises(ValueError, match="the config has no train_dataloader"):
        certify(whole.path, whole.model, whole.cfg, CertificateRequest("train"))


def changed(path: Path, weight: str, factor: float, to: Path) -> Path:
    """A copy of a file with a weight multiplied by a factor."""
    model = onnx.load(path)
    (own,) = [one for one in model.graph.initializer if one.name.endswith(weight)]
    own.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(own) * np.float32(factor), own.name))
    onnx.save(model, to)
    return to


@pytest.mark.parametrize("weight", ["gfl_cls.weight", "gfl_reg.weight", "backbone.first.weight"])
def test_a_file_with_slightly_different_weights_fails(weight: str, whole: Exported, tmp_path: Path):
    assert not certified(whole, changed(whole.path, weight, 1.003, tmp_path / "model.onnx")).passes


def test_boxes_that_are_off_by_a_hundredth_of_a_pixel_fail(whole: Exported, monkeypatch: pytest.MonkeyPatch):
    test_step = whole.model.test_step

    def shifted(batch: dict) -> list:
        samples = test_step(batch)
        for sample in samples:
            sample.pred_instances.bboxes = sample.pred_instances.bboxes + torch.tensor([0.0, 0.01, 0, 0])
        return samples

    monkeypatch.setattr(whole.model, "test_step", shifted)
    found = certified(whole)
    assert not found.passes
    assert found.cases[0].difference.boxes == pytest.approx(0.01, abs=1e-3)


# -----------------------------------------------------------------------------------------------------------------
# Differences
# -----------------------------------------------------------------------------------------------------------------

LIMITS = Limits(score_threshold=0.3, max_per_image=4, iou_threshold=0.5, class_agnostic=False)
SQUARES = [[0, 0, 10, 10], [20, 0, 30, 10], [40, 0, 50, 10], [60, 0, 70, 10]]


def detections(boxes: list, scores: list[float], labels: list[int] | None = None) -> Detections:
    labels = [0] * len(scores) if labels is None else labels
    return Detections(
        np.array(boxes, np.float32).reshape(-1, 4), np.array(scores, np.float32), np.array(labels, np.int64)
    )


def compared(one: Detections, other: Detections) -> Difference:
    found = difference([one], [other], LIMITS)
    swapped = difference([other], [one], LIMITS)
    assert replace(found, detections=0) == replace(swapped, detections=0)
    return found


def test_the_largest_differences_are_those_of_the_same_objects_in_any_order():
    one = detections(SQUARES[:3], [0.9, 0.8, 0.7])
    moved = detections([SQUARES[2], SQUARES[0], [20.25, 0, 30, 10]], [0.7, 0.875, 0.8])
    found = compared(one, moved)
    assert (found.boxes, found.one_sided, found.borderline) == (0.25, 0, 0)
    assert found.scores == pytest.approx(0.025, abs=1e-6)


def test_another_class_is_another_object():
    found = compared(detections(SQUARES[:1], [0.9], [0]), detections(SQUARES[:1], [0.9], [1]))
    assert found.one_sided == 2


def test_a_detection_may_be_missing_only_where_rounding_decides():
    one = detections(SQUARES[:2], [0.9, 0.5])
    assert compared(one, one.rows([0])).one_sided == 1
    at_threshold = detections(SQUARES[:2], [0.9, 0.30005])
    assert compared(at_threshold, at_threshold.rows([0])).borderline == 1
    above = detections(SQUARES[:2], [0.9, 0.3005])
    assert compared(above, above.rows([0])).one_sided == 1


def test_one_of_two_equal_detections_may_be_the_last_that_is_kept():
    full = detections(SQUARES, [0.9, 0.8, 0.7, 0.6])
    other = detections([*SQUARES[:3], [80, 0, 90, 10]], [0.9, 0.8, 0.7, 0.60005])
    assert (compared(full, other).borderline, compared(full, other).one_sided) == (2, 0)
    far = detections([*SQUARES[:3], [80, 0, 90, 10]], [0.9, 0.8, 0.7, 0.65])
    assert (compared(full, far).borderline, compared(full, far).one_sided) == (1, 1)


def test_a_box_may_be_suppressed_where_its_iou_is_the_threshold():
    half = [0, 0, 10, 20]  # IoU 0.5 with the first square
    one = detections([SQUARES[0], half], [0.9, 0.8])
    assert compared(one, one.rows([0])).borderline == 1
    less = detections([SQUARES[0], [0, 0, 10, 21]], [0.9, 0.8])
    assert compared(less, less.rows([0])).one_sided == 1


# Four boxes of one object and one of another: the first two have equal scores, and do not suppress the same boxes.
ROW = detections([[0, 0, 10, 10], [2, 0, 12, 10], [5, 0, 15, 10], [50, 0, 60, 10]], [0.9, 0.9, 0.8, 0.7])


def explained(one: Detections, other: Detections, candidates: Detections) -> bool:
    """Whether the differences are those of two right results of NMS."""
    found = difference([one], [other], LIMITS, candidates=lambda number: candidates)
    return found.one_sided == 0 and found.boxes <= 1e-3 and found.scores <= 1e-4


def test_of_equal_scores_either_may_be_kept():
    first, second = ROW.rows([0, 2, 3]), ROW.rows([1, 3])  # the second one also suppresses the third
    assert difference([first], [second], LIMITS).boxes == 2
    assert explained(first, second, ROW) and explained(second, first, ROW)


@pytest.mark.parametrize(
    "rows",
    [
        [2, 3],  # the third one is not among the best
        [0, 3],  # nothing suppresses the third one
        [1],  # nothing suppresses the last one
        [0, 1, 3],  # the first two overlap
        [],
    ],
)
def test_other_results_are_not_those_of_nms(rows: list[int]):
    assert not explained(ROW.rows([0, 2, 3]), ROW.rows(rows), ROW)


def test_a_lower_score_does_not_suppress_a_higher_one():
    both = detections([[0, 0, 10, 10], [1, 0, 11, 10]], [0.9, 0.8])
    assert not explained(both.rows([0]), both.rows([1]), both)


def test_boxes_that_are_not_among_the_candidates_are_not_explained():
    right = ROW.rows([0, 2, 3])
    moved = replace(right, boxes=right.boxes + np.float32(0.01))
    assert not explained(right, moved, ROW) and not explained(moved, right, ROW)
    assert not explained(right, replace(right, scores=right.scores - np.float32(0.001)), ROW)
    assert not explained(right, right.rows([0, 0, 1, 2]), ROW)


# -----------------------------------------------------------------------------------------------------------------
# Files
# -----------------------------------------------------------------------------------------------------------------


def made_certificate(**changes: object) -> Certificate:
    case = Case("one by one", Difference(5, 60, 2e-4, 1e-6, None, 1, 0))
    values = dict(file_hash="f" * 64, opset=18, versions={"torch": "2.0"}, machine="CPU | 2 cores", date="2026-01-01")
    return Certificate(
        **{
            **dict(description=DESCRIPTION, split="val", total=9, cases=(case,), from_files=case, pixels=None),
            **values,
            **dict(ap={"PyTorch": 50.0, "ONNX Runtime": float("nan")}),
            **changes,
        }
    )


@pytest.mark.parametrize(
    ("change", "passes"),
    [
        (dict(boxes=1e-3, scores=1e-4), True),
        (dict(boxes=1.1e-3), False),
        (dict(scores=1.1e-4), False),
        (dict(std=1.1e-3), False),
        (dict(one_sided=1), False),
        (dict(borderline=9), True),
        (dict(boxes=float("nan")), False),
    ],
)
def test_the_verdict(change: dict, passes: bool):
    case = Case("any", replace(Difference(5, 60, 2e-4, 1e-6, 1e-4, 1, 0), **change))
    assert made_certificate(cases=(case,)).passes is passes


def test_a_resized_image_may_differ_by_one_grey_level():
    assert [made_certificate(pixels=pixels).passes for pixels in (0, 1, 2)] == [True, True, False]


def test_the_files_say_what_was_compared(tmp_path: Path):
    certificate = made_certificate()
    write_certificate(tmp_path, certificate)
    values = json.loads((tmp_path / JSON).read_text())
    assert values == as_json(certificate) and values["passes"] is True
    assert values["cases"][0]["difference"]["boxes"] == 2e-4
    assert values["ap"] == {"PyTorch": 50.0, "ONNX Runtime": None}  # JSON has no NaN
    page = (tmp_path / PAGE).read_text()
    assert page.startswith("# Certificate of model.onnx: passed\n")
    assert "| one by one | 5 | 60 | 2.0e-04 | 1.0e-06 | 1 | 0 | passed |" in page
    assert "CPU \\| 2 cores" in page
