"""Each kind of mistake in a small data set is found, and nothing is found in valid data."""

from __future__ import annotations

import copy
import json
import os
import subprocess
import sys
from pathlib import Path

import mmdet.datasets
import mmdet.models
import mmdet.registry
import numpy as np
import pytest
import torch
from mmdet.datasets import CocoDataset
from mmdet.registry import DATASETS
from mmengine.config import Config
from mmengine.registry import init_default_scope

import gfl_plugin  # noqa: F401  # isort: skip
from gfl_plugin.analysis.data_check.annotation_findings import annotation_findings
from gfl_plugin.analysis.data_check.file_findings import file_findings
from gfl_plugin.analysis.data_check.findings import Finding, serious
from gfl_plugin.analysis.data_check.readers import read_annotations
from gfl_plugin.analysis.data_check.sources import Source, sources
from gfl_plugin.analysis.data_check.training_findings import training_findings
from gfl_plugin.analysis.data_check.training_view import TrainingView, gfl_head, view_training_set
from gfl_plugin.analysis.data_check.walk import check
from gfl_plugin.demo.dataset import DemoSize, make_dataset

pytestmark = pytest.mark.once

ROOT = Path(__file__).resolve().parents[2]
CONFIG = ROOT / "configs" / "demo" / "gfl_r18_demo.py"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """The demo's data, small; tests may introduce mistakes."""
    return make_dataset(tmp_path / "data", DemoSize(train=4, val=2, side=96))


def spoil(data: Path, change) -> None:
    file = data / "train.json"
    content = json.loads(file.read_text())
    change(content)
    file.write_text(json.dumps(content))


def config(data: Path, monkeypatch: pytest.MonkeyPatch) -> Config:
    monkeypatch.setenv("GFL_DEMO_DATA", str(data))
    init_default_scope("mmdet")
    return Config.fromfile(CONFIG)


def found_in(data: Path, monkeypatch: pytest.MonkeyPatch, decode: bool = True) -> dict[str, Finding]:
    dataset = config(data, monkeypatch).train_dataloader.dataset
    known = read_annotations(dataset, "coco")
    found = annotation_findings(known, dataset.metainfo.classes)
    found += file_findings(known.images, decode, lambda done, total: None)
    return {one.kind: one for one in found}


def test_valid_data_has_no_findings(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not serious(found_in(data, monkeypatch).values())


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        (lambda c: c["annotations"][0].update(bbox=[5, 5, 0, 7]), "boxes of zero or negative size"),
        (lambda c: c["annotations"][0].update(bbox=[5, 5, 4, -7]), "boxes of zero or negative size"),
        (lambda c: c["annotations"][0].update(bbox=[5, 5, float("nan"), 7]), "boxes that are not numbers"),
        (lambda c: c["annotations"][0].update(bbox=[5, None, 3, 7]), "boxes that are not numbers"),
        (lambda c: c["annotations"][0].update(bbox=[90, 90, 50, 7]), "boxes outside their image"),
        (lambda c: c["categories"][0].update(name="zero"), "classes that metainfo does not name"),
        (lambda c: c["annotations"][1].update(id=c["annotations"][0]["id"]), "duplicate identifiers"),
        (lambda c: c["images"].append(c["images"][0]), "duplicate identifiers"),
        (lambda c: c["annotations"][0].update(image_id=999), "objects of images that are not listed"),
        (lambda c: c["images"][0].update(file_name="nowhere.jpg"), "missing images"),
        (lambda c: c["images"][0].update(width=300, height=300), "images whose size differs from the annotation"),
    ],
)
def test_each_mistake_is_found(data: Path, monkeypatch: pytest.MonkeyPatch, change, kind: str) -> None:
    # Every class must occur, including the renamed one.
    spoil(data, lambda c: c["annotations"][0].update(category_id=c["categories"][0]["id"]))
    spoil(data, change)
    found = found_in(data, monkeypatch)
    assert found[kind].serious
    assert found[kind].count == 1
    assert len(found[kind].examples) == 1


def test_boxes_that_mmdetection_drops_for_their_size_are_found(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As many as are missing in its dataset."""
    sizes = [(0.5, 9), (9, 0.999), (0.5, 0.5), (1, 9), (9, 1), (1, 1), (1.001, 9)]
    entry = json.loads((data / "train.json").read_text())["annotations"][0]
    boxes = [[30.1 + 0.7 * number, 44.3, *size] for number, size in enumerate(sizes)]
    kept = [{**entry, "id": number, "bbox": box, "area": 9.0} for number, box in enumerate(boxes, 1)]
    spoil(data, lambda c: c.update(annotations=kept))
    built = DATASETS.build({**config(data, monkeypatch).train_dataloader.dataset, "filter_cfg": None})
    dropped = len(sizes) - sum(len(built.get_data_info(number)["instances"]) for number in range(len(built)))
    found = found_in(data, monkeypatch)["boxes with a side shorter than 1 px"]
    assert found.serious and found.count == dropped > 0 and found.of == len(sizes)


def test_images_without_objects_and_broken_files(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = json.loads((data / "train.json").read_text())
    first = content["images"][0]
    spoil(data, lambda c: c.update(annotations=[one for one in c["annotations"] if one["image_id"] != first["id"]]))
    file = data / "train" / first["file_name"]
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    found = found_in(data, monkeypatch)
    assert found["images without objects"].examples == (first["file_name"],)
    assert not found["images without objects"].serious
    assert first["file_name"] in found["images that cannot be decoded"].examples[0]
    assert "images that cannot be decoded" not in found_in(data, monkeypatch, decode=False)


def test_objects_without_a_positive_and_sides_beyond_the_last_bin(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The check finds a tiny object to which ATSS assigns no location, and sides beyond reg_max = 2."""
    cfg = config(data, monkeypatch)
    # The box is 0.2 px wide and lies between two locations, so no center is inside.
    spoil(data, lambda c: c["annotations"][0].update(bbox=[44.0, 44.0, 0.2, 0.2]))
    image = json.loads((data / "train.json").read_text())["annotations"][0]["image_id"]
    cfg.train_dataloader.dataset.filter_cfg = None
    head, source = gfl_head(cfg), Source(cfg.train_dataloader.dataset)
    seen = view_training_set(cfg, source, head, 100, lambda done, total: None)
    # MMDetection's data set drops objects smaller than one pixel.
    assert seen.unassigned == ()
    spoil(data, lambda c: c["annotations"][0].update(bbox=[44.5, 44.5, 1.5, 1.5], area=2.25))
    seen = view_training_set(cfg, source, head, 100, lambda done, total: None)
    assert len(seen.unassigned) == 1, image
    assert "1.5×1.5 px" in seen.unassigned[0]
    (found, *_) = training_findings(seen, head)
    assert found.kind == "objects without a location" and "min_positives=1" in found.advice

    cfg.model.train_cfg.assigner.update(type="gfl_plugin.ATSSAssigner", min_positives=1)
    every = gfl_head(cfg)
    assert view_training_set(cfg, source, every, 100, lambda done, total: None).unassigned == ()
    (found, *_) = training_findings(seen, every)
    assert found.kind == "objects without a location" and "min_positives" not in found.advice

    cfg.model.bbox_head.reg_max = 2
    short = gfl_head(cfg)
    (finding,) = (one for one in training_findings(seen, short) if one.kind == "sides beyond the last bin")
    sides = np.concatenate([level.numpy() for level in seen.sides])
    assert finding.count == int((sides > 2).sum()) > 0
    assert f"reg_max={int(np.ceil(sides.max()))} with uniform bins covers 99.9%" in finding.advice  # < 1,000 per level
    assert all(example.startswith("stride ") for example in finding.examples)


def test_other_heads_are_not_checked(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cfg = config(data, monkeypatch)
    cfg.model.bbox_head.type = "mmdet.ATSSHead"
    assert gfl_head(cfg) is None


class NoProgress:
    def note(self, text: str) -> None:
        raise AssertionError(text)

    def begin(self, task: str):
        return lambda done, total: None


@pytest.mark.parametrize("named_by", ["metainfo", "class", "file"])
def test_classes_are_those_used_in_training(data: Path, monkeypatch, tmp_path: Path, named_by: str) -> None:
    """Classes are found in metainfo, in a file, or in the data set's class, as in MMDetection's COCO configs."""
    cfg = config(data, monkeypatch)
    classes = list(cfg.train_dataloader.dataset.metainfo.classes)
    for loader in (cfg.train_dataloader, cfg.val_dataloader, cfg.test_dataloader):
        if named_by == "class":
            monkeypatch.setitem(CocoDataset.METAINFO, "classes", tuple(classes))
            loader.dataset.pop("metainfo")
        if named_by == "file":
            (tmp_path / "classes.txt").write_text("\n".join(classes))
            loader.dataset.metainfo = dict(classes=str(tmp_path / "classes.txt"))
    spoil(data, lambda c: c["categories"][0].update(name="zero"))
    spoil(data, lambda c: c["annotations"][0].update(category_id=c["categories"][0]["id"]))
    train = check(cfg, images=False, limit=2, progress=NoProgress())[0]
    (unknown,) = [one for one in train.findings if one.kind == "classes that metainfo does not name"]
    assert unknown.examples == ("zero",)


def serious_in(cfg: Config, split: str = "train") -> dict[str, Finding]:
    """The mistakes found in a split, by their kind."""
    checked = {one.name.split(":")[0]: one for one in check(cfg, images=False, limit=100, progress=NoProgress())}
    return {one.kind: one for one in checked[split].findings if one.serious}


@pytest.mark.parametrize(
    ("classes", "kind", "example", "advice"),
    [
        (
            80,
            "heads with a wrong number of classes",
            "bbox_head.num_classes=80, but metainfo has 10: 0, 1, 2, 3, 4, … (10 in total)",
            "set num_classes=10, or correct metainfo.classes",
        ),
        (
            "RBC",
            "classes given as a single string",
            "metainfo.classes='RBC'",
            "write a tuple of names: ('RBC',) with the comma",
        ),
    ],
)
def test_number_of_classes(data: Path, monkeypatch, classes: object, kind: str, example: str, advice: str) -> None:
    cfg = config(data, monkeypatch)
    assert not serious_in(cfg)
    if isinstance(classes, int):
        cfg.model.bbox_head.num_classes = classes
    else:
        cfg.train_dataloader.dataset.metainfo.classes = classes
    found = serious_in(cfg)[kind]
    assert found.examples == (example,) and found.advice == advice


def test_no_object_of_the_classes(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Misspelled names are a mistake in training and validation; a test set may have no objects."""
    cfg = config(data, monkeypatch)
    for loader in (cfg.train_dataloader, cfg.val_dataloader, cfg.test_dataloader):
        loader.dataset.metainfo.classes = tuple(f"digit {name}" for name in loader.dataset.metainfo.classes)
    kind = "datasets without objects of their classes"
    for split in ("train", "val"):
        assert "none of digit 0, digit 1" in serious_in(cfg, split)[kind].examples[0]
    assert kind not in serious_in(cfg, "test")
    cfg.train_dataloader.dataset.filter_cfg = dict(filter_empty_gt=True)  # no image remains
    (text,) = serious_in(cfg)["datasets that MMDetection cannot load"].examples
    assert "no images are left" in text


@pytest.mark.parametrize("head", ["gfl_plugin.GFLHead", "mmdet.ATSSHead"])
@pytest.mark.parametrize("split", ["train", "val"])
def test_empty_data_sets(data: Path, monkeypatch: pytest.MonkeyPatch, split: str, head: str) -> None:
    """They are a mistake for any head."""
    cfg = config(data, monkeypatch)
    cfg.model.bbox_head.type = head
    file = data / f"{split}.json"
    content = json.loads(file.read_text())
    file.write_text(json.dumps({**content, "annotations": []}))
    monkeypatch.setattr(NoProgress, "note", lambda self, text: None)
    assert "datasets without objects of their classes" in serious_in(cfg, split)
    file.write_text(json.dumps({**content, "annotations": [], "images": []}))
    assert "annotation files without images" in serious_in(cfg, split)


@pytest.mark.parametrize(("reach", "serious"), [(16, False), (1, True)])
def test_many_sides_beyond_the_last_bin_are_a_mistake(data: Path, monkeypatch, reach: int, serious: bool) -> None:
    cfg = config(data, monkeypatch)
    cfg.model.bbox_head.reg_max = reach
    assert ("sides beyond the last bin" in serious_in(cfg)) == serious


@pytest.mark.parametrize(("unassigned", "serious"), [(50, False), (51, True), (100, True)])
def test_many_objects_without_a_location_are_a_mistake(data: Path, monkeypatch, unassigned: int, serious: bool) -> None:
    """More than half of the objects are a mistake; random scales make some objects tiny in any data."""
    head = gfl_head(config(data, monkeypatch))
    seen = TrainingView(objects=100, unassigned=("one",) * unassigned, sides=(torch.ones(4),))
    (found,) = training_findings(seen, head)
    assert found.serious == serious


def test_pipelines_of_wrappers(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The pipelines of wrappers are applied, too: in YOLOX the data set loads images, and its wrapper mixes them."""
    cfg = config(data, monkeypatch)
    plain = cfg.train_dataloader.dataset
    head = gfl_head(cfg)
    expected = view_training_set(cfg, Source(plain), head, 100, lambda done, total: None)
    image, resize, boxes, pack = plain.pipeline
    inner = dict(plain, pipeline=[image, boxes])
    mixed = dict(type="MultiImageMixDataset", dataset=inner, pipeline=[resize, pack])
    cfg.train_dataloader.dataset = dict(type="RepeatDataset", times=2, dataset=mixed)
    (source,) = sources(cfg.train_dataloader.dataset)
    seen = view_training_set(cfg, source, head, 100, lambda done, total: None)
    assert (seen.objects, seen.unassigned) == (expected.objects, expected.unassigned)
    assert sum(map(len, seen.sides)) == sum(map(len, expected.sides)) > 0
    mosaic = dict(type="Mosaic", img_scale=(96, 96), pad_val=114.0)
    cfg.train_dataloader.dataset.dataset.pipeline.insert(0, mosaic)
    assert "datasets that MMDetection cannot load" not in serious_in(cfg)
    cfg.train_dataloader.dataset = inner
    (text,) = serious_in(cfg)["datasets that MMDetection cannot load"].examples
    assert "its last step must be PackDetInputs" in text


def test_new_style_configs(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The findings are the same if types are classes instead of names."""
    by_name = config(data, monkeypatch)
    by_class = copy.deepcopy(by_name)
    by_class.model.bbox_head.type = gfl_plugin.GFLHead
    by_class.model.train_cfg.assigner.type = mmdet.models.task_modules.ATSSAssigner
    for loader in (by_class.train_dataloader, by_class.val_dataloader, by_class.test_dataloader):
        loader.dataset.type = CocoDataset
        for step in loader.dataset.pipeline:
            step.type = mmdet.registry.TRANSFORMS.get(step.type)
    for cfg in (by_name, by_class):
        cfg.model.bbox_head.reg_max = 1
    assert serious_in(by_class) == serious_in(by_name) != {}
    by_class.train_dataloader.dataset.type = mmdet.datasets.OpenImagesDataset
    with pytest.raises(AssertionError, match="train: OpenImagesDataset is not supported; supported: CocoDataset"):
        serious_in(by_class)


def tool(*arguments: object, **environment: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-W", "ignore", ROOT / "tools" / "check_data.py", *arguments]
    return subprocess.run(
        [str(part) for part in command],
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "COLUMNS": "200", **environment},
    )


def test_the_tool_and_its_mistakes(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "found.json"
    done = tool(CONFIG, "--images", "--json", out, GFL_DEMO_DATA=str(data))
    assert done.returncode == 0, done.stdout + done.stderr
    assert {name.split(":")[0] for name in json.loads(out.read_text())} == {"train", "val", "test"}
    done = tool(CONFIG, GFL_DEMO_DATA=str(tmp_path / "nowhere"))
    assert done.returncode == 2
    assert "annotation file not found" in done.stderr


def test_the_two_boxes_of_zero_size_in_bccd_are_found(gfl_data: Path, tmp_path: Path) -> None:
    out = tmp_path / "found.json"
    done = tool(ROOT / "configs" / "bccd" / "gfl_r18_bccd.py", "--json", out, GFL_DATA=str(gfl_data))
    assert done.returncode == 1, done.stderr
    found = [one for part in json.loads(out.read_text()).values() for one in part]
    flat = [one for one in found if one["kind"] == "boxes of zero or negative size"]
    assert sum(one["count"] for one in flat) == 2
    assert {example.split(":")[0] for one in flat for example in one["examples"]} == {
        "BloodImage_00338",
        "BloodImage_00343",
    }
