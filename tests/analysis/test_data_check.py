"""Each kind of mistake, put into a small data set, is found; and nothing is found in a sound one."""

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
from mmengine.config import Config
from mmengine.registry import init_default_scope

import gfl_plugin  # noqa: F401  # isort: skip
from gfl_plugin.analysis.data_check import annotations, findings, training_view, walk
from gfl_plugin.demo.dataset import DemoSize, make_dataset

pytestmark = pytest.mark.once

ROOT = Path(__file__).resolve().parents[2]
CONFIG = ROOT / "configs" / "demo" / "gfl_r18_demo.py"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """The demo's data, small; a test may spoil it."""
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


def found_in(data: Path, monkeypatch: pytest.MonkeyPatch, decode: bool = True) -> dict[str, findings.Finding]:
    dataset = config(data, monkeypatch).train_dataloader.dataset
    known = annotations.read(dataset, "coco")
    found = findings.of_annotations(known, dataset.metainfo.classes)
    found += findings.of_files(known.images, decode, lambda done, total: None)
    return {one.kind: one for one in found}


def test_sound_data(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not findings.serious(found_in(data, monkeypatch).values())


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        (lambda c: c["annotations"][0].update(bbox=[5, 5, 0, 7]), "boxes of zero or negative size"),
        (lambda c: c["annotations"][0].update(bbox=[5, 5, 4, -7]), "boxes of zero or negative size"),
        (lambda c: c["annotations"][0].update(bbox=[5, 5, float("nan"), 7]), "boxes that are not numbers"),
        (lambda c: c["annotations"][0].update(bbox=[5, None, 3, 7]), "boxes that are not numbers"),
        (lambda c: c["annotations"][0].update(bbox=[90, 90, 50, 7]), "boxes outside of their image"),
        (lambda c: c["categories"][0].update(name="zero"), "classes that metainfo does not name"),
        (lambda c: c["annotations"][1].update(id=c["annotations"][0]["id"]), "identifiers that occur twice"),
        (lambda c: c["images"].append(c["images"][0]), "identifiers that occur twice"),
        (lambda c: c["annotations"][0].update(image_id=999), "objects of an image that is not listed"),
        (lambda c: c["images"][0].update(file_name="nowhere.jpg"), "images that are missing"),
        (lambda c: c["images"][0].update(width=300, height=300), "images of another size than annotated"),
    ],
)
def test_each_mistake_is_found(data: Path, monkeypatch: pytest.MonkeyPatch, change, kind: str) -> None:
    # Every class has to occur, for the one that is renamed.
    spoil(data, lambda c: c["annotations"][0].update(category_id=c["categories"][0]["id"]))
    spoil(data, change)
    found = found_in(data, monkeypatch)
    assert found[kind].serious
    assert found[kind].count == 1
    assert len(found[kind].examples) == 1


def test_images_without_objects_and_broken_files(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = json.loads((data / "train.json").read_text())
    first = content["images"][0]
    spoil(data, lambda c: c.update(annotations=[one for one in c["annotations"] if one["image_id"] != first["id"]]))
    file = data / "train" / first["file_name"]
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    found = found_in(data, monkeypatch)
    assert found["images without an object"].examples == (first["file_name"],)
    assert not found["images without an object"].serious
    assert first["file_name"] in found["images that cannot be read to their end"].examples[0]
    assert "images that cannot be read to their end" not in found_in(data, monkeypatch, decode=False)


def test_what_the_head_learns(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A tiny object that ATSS gives no positive, and sides beyond four strides."""
    cfg = config(data, monkeypatch)
    # 0.2 px between the centers of two locations: none lies inside.
    spoil(data, lambda c: c["annotations"][0].update(bbox=[44.0, 44.0, 0.2, 0.2]))
    image = json.loads((data / "train.json").read_text())["annotations"][0]["image_id"]
    cfg.train_dataloader.dataset.filter_cfg = None
    head, source = training_view.gfl_head(cfg), annotations.Source(cfg.train_dataloader.dataset)
    seen = training_view.look(cfg, source, head, 100, lambda done, total: None)
    # MMDetection's data set takes objects below one pixel for no objects.
    assert seen.alone == ()
    spoil(data, lambda c: c["annotations"][0].update(bbox=[44.5, 44.5, 1.5, 1.5], area=2.25))
    seen = training_view.look(cfg, source, head, 100, lambda done, total: None)
    assert len(seen.alone) == 1, image
    assert "1.5×1.5 px" in seen.alone[0]
    assert training_view.findings_of(seen, head)[0].kind == "objects that no location learns"

    cfg.model.bbox_head.reg_max = 2
    short = training_view.gfl_head(cfg)
    (finding,) = (one for one in training_view.findings_of(seen, short) if one.kind == "sides beyond the last bin")
    sides = np.concatenate([level.numpy() for level in seen.sides])
    assert finding.count == int((sides > 2).sum()) > 0
    assert f"reg_max={int(np.ceil(np.quantile(sides, 0.999)))}" in finding.advice
    assert all(example.startswith("stride ") for example in finding.examples)


def test_other_heads_are_not_looked_at(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cfg = config(data, monkeypatch)
    cfg.model.bbox_head.type = "mmdet.ATSSHead"
    assert training_view.gfl_head(cfg) is None


class NoWatcher:
    def note(self, text: str) -> None:
        raise AssertionError(text)

    def begin(self, task: str):
        return lambda done, total: None


@pytest.mark.parametrize("named_by", ["metainfo", "class", "file"])
def test_classes_are_those_that_training_takes(data: Path, monkeypatch, tmp_path: Path, named_by: str) -> None:
    """A config need not name classes: MMDetection's COCO configs leave it to their data set's class."""
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
    train = walk.check(cfg, images=False, limit=2, watcher=NoWatcher())[0]
    (unknown,) = [one for one in train.findings if one.kind == "classes that metainfo does not name"]
    assert unknown.examples == ("zero",)


def serious_in(cfg: Config, split: str = "train") -> dict[str, findings.Finding]:
    """The mistakes found in a split, by their kind."""
    checked = {one.name.split(":")[0]: one for one in walk.check(cfg, images=False, limit=100, watcher=NoWatcher())}
    return {one.kind: one for one in checked[split].findings if one.serious}


@pytest.mark.parametrize(
    ("classes", "kind", "example", "advice"),
    [
        (
            80,
            "heads with another number of classes",
            "bbox_head.num_classes=80, and metainfo names 10: 0, 1, 2, 3, 4, … (10 in all)",
            "num_classes=10, or correct metainfo.classes",
        ),
        (
            "RBC",
            "class names that are a single text",
            "metainfo.classes='RBC'",
            "classes must be a tuple of names: ('RBC',) with the comma",
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
    """Misspelt names; a mistake for training and validation, while a test set may come without objects."""
    cfg = config(data, monkeypatch)
    for loader in (cfg.train_dataloader, cfg.val_dataloader, cfg.test_dataloader):
        loader.dataset.metainfo.classes = tuple(f"digit {name}" for name in loader.dataset.metainfo.classes)
    kind = "data sets without an object of their classes"
    for split in ("train", "val"):
        assert "none of digit 0, digit 1" in serious_in(cfg, split)[kind].examples[0]
    assert kind not in serious_in(cfg, "test")
    cfg.train_dataloader.dataset.filter_cfg = dict(filter_empty_gt=True)  # nothing remains
    (text,) = serious_in(cfg)["data sets that MMDetection cannot load"].examples
    assert "no images are left" in text


@pytest.mark.parametrize("head", ["gfl_plugin.GFLHead", "mmdet.ATSSHead"])
@pytest.mark.parametrize("split", ["train", "val"])
def test_empty_data_sets(data: Path, monkeypatch: pytest.MonkeyPatch, split: str, head: str) -> None:
    """Whatever the head."""
    cfg = config(data, monkeypatch)
    cfg.model.bbox_head.type = head
    file = data / f"{split}.json"
    content = json.loads(file.read_text())
    file.write_text(json.dumps({**content, "annotations": []}))
    monkeypatch.setattr(NoWatcher, "note", lambda self, text: None)
    assert "data sets without an object of their classes" in serious_in(cfg, split)
    file.write_text(json.dumps({**content, "annotations": [], "images": []}))
    assert "annotation files without an image" in serious_in(cfg, split)


@pytest.mark.parametrize(("reach", "serious"), [(16, False), (1, True)])
def test_many_sides_beyond_the_last_bin_are_a_mistake(data: Path, monkeypatch, reach: int, serious: bool) -> None:
    cfg = config(data, monkeypatch)
    cfg.model.bbox_head.reg_max = reach
    assert ("sides beyond the last bin" in serious_in(cfg)) == serious


@pytest.mark.parametrize(("alone", "serious"), [(50, False), (51, True), (100, True)])
def test_many_objects_that_nobody_learns_are_a_mistake(data: Path, monkeypatch, alone: int, serious: bool) -> None:
    """More than half; random scales make some objects tiny in any data."""
    head = training_view.gfl_head(config(data, monkeypatch))
    seen = training_view.Seen(objects=100, alone=("one",) * alone, sides=(torch.ones(4),))
    (found,) = training_view.findings_of(seen, head)
    assert found.serious == serious


def test_pipelines_of_wrappers(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """YOLOX mixes images: the data set only loads them, and its wrapper's pipeline does the rest."""
    cfg = config(data, monkeypatch)
    plain = cfg.train_dataloader.dataset
    head = training_view.gfl_head(cfg)
    expected = training_view.look(cfg, annotations.Source(plain), head, 100, lambda done, total: None)
    image, resize, boxes, pack = plain.pipeline
    inner = dict(plain, pipeline=[image, boxes])
    mixed = dict(type="MultiImageMixDataset", dataset=inner, pipeline=[resize, pack])
    cfg.train_dataloader.dataset = dict(type="RepeatDataset", times=2, dataset=mixed)
    (source,) = annotations.sources(cfg.train_dataloader.dataset)
    seen = training_view.look(cfg, source, head, 100, lambda done, total: None)
    assert (seen.objects, seen.alone) == (expected.objects, expected.alone)
    assert sum(map(len, seen.sides)) == sum(map(len, expected.sides)) > 0
    mosaic = dict(type="Mosaic", img_scale=(96, 96), pad_val=114.0)
    cfg.train_dataloader.dataset.dataset.pipeline.insert(0, mosaic)
    assert "data sets that MMDetection cannot load" not in serious_in(cfg)
    cfg.train_dataloader.dataset = inner
    (text,) = serious_in(cfg)["data sets that MMDetection cannot load"].examples
    assert "its last step must be PackDetInputs" in text


def test_new_style_configs(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Types are classes there, not names: the same is found."""
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
    with pytest.raises(AssertionError, match="train: a OpenImagesDataset is not read; known: CocoDataset"):
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
    assert "there is no annotation file" in done.stderr


def test_bccds_two_boxes_without_a_size(gfl_data: Path, tmp_path: Path) -> None:
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
