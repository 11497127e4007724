"""The command: a report about small untrained detectors, what it says about bad input, and how it continues."""

from __future__ import annotations

import csv
import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import gfl_plugin  # noqa: F401  # isort: skip  (must precede mmdet without compiled ops)
import numpy as np
import pytest
import torch
from mmdet.registry import MODELS
from mmengine.config import Config, ConfigDict

from gfl_plugin import cli
from gfl_plugin.analysis.labelled_images import labelled_loader
from gfl_plugin.analysis.progress import output_console, progress_display
from gfl_plugin.analysis.report import detector_source as detector_module
from gfl_plugin.analysis.report import examine as examine_module
from gfl_plugin.analysis.report.detector_source import DetectorSubject
from gfl_plugin.analysis.report.examine import examine
from gfl_plugin.analysis.report.examined_image import Examination
from gfl_plugin.analysis.report.report_content import ModelReport, ReportContent
from gfl_plugin.analysis.report.run_fingerprint import run_fingerprint
from gfl_plugin.analysis.studies.average_precision import average_precisions
from gfl_plugin.demo.dataset import DemoSize, make_dataset
from gfl_plugin.metrics.matched_sides import match_sides
from gfl_plugin.results import CocoMetric

DIGITS = tuple("0123456789")
IMAGES = 14
DIRAC = {"model.bbox_head.bbox_coder": dict(type="gfl_plugin.DiracBBoxCoder"), "model.bbox_head.loss_dfl": "by_coder"}


class Written:
    """What reached the page and the list of suspect labels, which are replaced by a file of one word."""

    def __init__(self) -> None:
        self.content: ReportContent | None = None
        self.examinations: list[Examination] = []
        self.asked: list[str] = []  # models whose suspect labels were asked for

    def page(self, content: ReportContent, examinations: list[Examination], folder: Path) -> None:
        self.content, self.examinations = content, list(examinations)
        (folder / "report.html").write_text("page")

    def suspects(self, examination: Examination, level: float) -> tuple:
        self.asked.append(examination.name)
        return ()

    def write(self, suspects: tuple, examination: Examination, folder: Path) -> None:
        (folder / "suspects.csv").write_text(examination.name)


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> Written:
    found = Written()
    for name, functions in (
        ("page", {"write_page": found.page}),
        ("suspect_labels", {"find_suspects": found.suspects}),
        ("write_suspects", {"write_suspects": found.write}),
    ):
        module = ModuleType(f"gfl_plugin.analysis.report.{name}")
        vars(module).update(functions)
        monkeypatch.setitem(sys.modules, module.__name__, module)
    return found


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images of large digits, which boxes of random weights match, and detectors with random weights."""
    root = tmp_path_factory.mktemp("report")
    make_dataset(root / "data", DemoSize(train=12, val=IMAGES, side=64, digits="large"))
    path, content = annotations(root)
    for one in content["annotations"]:
        one["id"] += 1  # pycocotools takes a match with the object 0 for none, which would change MMDetection's AP
    path.write_text(json.dumps(content))
    for name, config in (
        ("gfl", detector_config(root)),
        ("dirac", detector_config(root, **DIRAC)),
        ("atss", atss_config(root)),
    ):
        torch.manual_seed(0)
        state = MODELS.build(config.model).state_dict()
        torch.save(dict(state_dict=state, meta=dict(dataset_meta=dict(classes=DIGITS))), root / f"{name}.pth")
    return root


@pytest.fixture
def folder(data: Path, tmp_path: Path) -> Path:
    """A copy, which a test may change."""
    shutil.copytree(data, tmp_path / "copy")
    return tmp_path / "copy"


def detector_config(root: Path, **changes: object) -> Config:
    """The demo's detector with many detections; ``val`` and ``test`` are different images."""
    config = Config.fromfile(gfl_plugin.find_config("gfl_plugin::demo/gfl_r18_demo.py"))
    nms = dict(type="nms", iou_threshold=0.9)
    config.model.bbox_head.reg_max = 8  # boxes of random weights are then as wide as the images
    config.model.test_cfg.update(score_thr=1e-6, nms_pre=300, nms=nms, max_per_img=100)
    for name in ("train", "val", "test"):
        loader = config[f"{name}_dataloader"].copy()
        loader.dataset = ConfigDict({**loader.dataset, "data_root": f"{root}/data/"})
        config[f"{name}_dataloader"] = loader
    config.test_dataloader.dataset.update(ann_file="train.json", data_prefix=dict(img="train/"))
    config.val_dataloader.batch_size = 2
    config.merge_from_dict(changes)
    if "bbox_coder" in config.model.bbox_head:  # of a Dirac head, which has no bins
        del config.model.bbox_head["reg_max"]
    return config


def atss_config(root: Path) -> Config:
    """The same data with MMDetection's ATSS head."""
    own, config = detector_config(root), Config.fromfile(gfl_plugin.find_config("gfl_plugin::demo/atss_r18_demo.py"))
    config.model.test_cfg = own.model.test_cfg
    for name in ("train", "val", "test"):
        config[f"{name}_dataloader"] = own[f"{name}_dataloader"]
    return config


def report(root: Path, *words: object, config: Config | None = None, checkpoint: str = "gfl.pth") -> int:
    """Run ``gfl-plugin report`` into ``root / "out"``."""
    (config or detector_config(root)).dump(root / "config.py")
    models = [root / "config.py", root / checkpoint]
    return cli.main(["report", *map(str, models), *map(str, words), "-o", str(root / "out")])


def said(model: ModelReport) -> list[str]:
    """What is missing, except for what the few images are the reason of."""
    few = ("Classes without an object", "There are too few images")
    return [sentence for sentence in model.missing if not sentence.startswith(few)]


def test_the_command_writes_numbers_suspects_and_the_page(
    folder: Path, written: Written, capsys: pytest.CaptureFixture
) -> None:
    assert report(folder, "--level", 0.6) == 0
    printed = capsys.readouterr().out
    assert f"wrote {folder / 'out' / 'report.html'}: open it in a browser" in printed
    content, (examination,) = written.content, written.examinations
    (model,) = content.models
    assert (content.split, content.title, model.name) == ("val", "config on val", "config")
    assert f"{model.accuracy.metrics['AP50']:.1f}" in printed and "localization" in printed
    assert len(examination.images) == len(model.judged) == IMAGES and examination.classes == DIGITS
    assert examination.bins == tuple(float(bin) for bin in range(9))
    assert examination.head == "GFLHead, JointQuality, IntegralBBoxCoder with 9 bins"
    assert written.asked == ["config"] and model.suspects == () and said(model) == []
    assert model.sides.level == 0.6 and 0.4 < model.sides.figures[0].coverage < 0.8
    files = {path.name for path in (folder / "out").iterdir()}
    assert files == {
        *("report.html", "report.json", "detections.csv", "objects.csv", "errors.csv", "suspects.csv", "predictions")
    }
    words = content.command.split()
    assert words[:2] == ["gfl-plugin", "report"] and words[-4:] == ["--split", "val", "--level", "0.6"]


def test_examined_images_are_the_detections_and_labels_of_mmdetection(folder: Path, written: Written) -> None:
    """The same AP as its metric, and the standard deviations and distributions of the detector's results."""
    assert report(folder) == 0
    config, (examination,) = detector_config(folder), written.examinations
    config.model.test_cfg.update(with_uncertainty=True, with_distributions=True)
    model = MODELS.build(config.model).eval()
    model.load_state_dict(torch.load(folder / "gfl.pth", weights_only=True)["state_dict"])
    truth = folder / "data" / "val.json"
    metric = CocoMetric(str(truth), metric="bbox", outfile_prefix=str(folder / "theirs"))
    loader = labelled_loader(config, "val")
    metric.dataset_meta = loader.dataset.metainfo
    results = []
    for batch in loader:
        with torch.no_grad():
            results.extend(one.to_dict() for one in model.test_step(batch))
    metric.process({}, results)
    metric.evaluate(len(results))
    names = ("AP", "AP50", "AP75")
    theirs = average_precisions(truth, folder / "theirs.bbox.json", names)
    ours = written.content.models[0].accuracy.metrics
    assert {name: ours[name] for name in names} == pytest.approx(theirs) and ours["AP50"] > 0
    for one, result in zip(examination.images, results):
        found = result["pred_instances"]
        order = found["scores"].argsort(descending=True, stable=True)
        np.testing.assert_allclose(one.scores, found["scores"][order], rtol=1e-6)
        np.testing.assert_allclose(one.sides.std, found["bbox_std"][order], rtol=1e-4)
        np.testing.assert_allclose(one.sides.probabilities, found["bbox_distributions"][order], atol=1e-3)
        np.testing.assert_allclose(one.detections.boxes, found["bboxes"][order], atol=1e-3)
        assert (one.path, one.image_id) == (result["img_path"], result["img_id"])
        assert (one.height, one.width) == result["ori_shape"]
    matched = sum(len(match_sides(result, 0.5)) for result in results)
    assert len(written.content.models[0].sides.std) == matched > 0


def test_an_interrupted_command_continues_with_the_other_images(
    folder: Path, written: Written, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    """The result is that of a command that was not interrupted; a third command predicts nothing."""
    monkeypatch.setattr(examine_module, "SHARD", 4)
    assert report(folder) == 0
    whole = (folder / "out" / "report.json").read_text()
    shutil.rmtree(folder / "out")
    with monkeypatch.context() as patch:
        patch.setattr(examine_module, "write_shard", Interrupting(examine_module.write_shard, after=2))
        assert report(folder) == 130
    assert "the same command predicts the other images" in capsys.readouterr().err
    assert not (folder / "out" / "report.json").exists()
    assert predicted(folder, monkeypatch) == list(range(8, IMAGES))
    assert (folder / "out" / "report.json").read_text() == whole
    assert predicted(folder, monkeypatch) == []


class Interrupting:
    """A function that is interrupted after some calls."""

    def __init__(self, function, after: int) -> None:
        self.function, self.left = function, after

    def __call__(self, *arguments: object) -> None:
        if not self.left:
            raise KeyboardInterrupt
        self.left -= 1
        self.function(*arguments)


def predicted(root: Path, monkeypatch: pytest.MonkeyPatch, **settings: object) -> list[int]:
    """Numbers of the images that a command predicts."""
    numbers, make = [], detector_module.examined_image

    def noting(sample: dict, info: dict, number: int):
        numbers.append(number)
        return make(sample, info, number)

    with monkeypatch.context() as patch:
        patch.setattr(detector_module, "examined_image", noting)
        assert report(root, **settings) == 0
    return numbers


def test_predictions_of_another_config_are_not_used(
    folder: Path, written: Written, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each config has a folder of its own."""
    config = detector_config(folder, **{"model.test_cfg.nms.iou_threshold": 0.8})
    assert predicted(folder, monkeypatch) == predicted(folder, monkeypatch, config=config) == list(range(IMAGES))
    assert len(list((folder / "out" / "predictions").iterdir())) == 2


@pytest.mark.parametrize(
    "change", ["nothing", "path of the checkpoint", "config", "split", "weights", "labels", "image"]
)
def test_the_fingerprint_is_that_of_everything_that_changes_the_predictions(folder: Path, change: str) -> None:
    def fingerprint(config: Config, checkpoint: str = "gfl.pth", split: str = "val") -> str:
        return run_fingerprint(config, folder / checkpoint, labelled_loader(config, split).dataset, split)

    config, settings = detector_config(folder), {}
    before = fingerprint(config)
    if change == "path of the checkpoint":
        (folder / "gfl.pth").rename(folder / "other.pth")
        settings["checkpoint"] = "other.pth"
    elif change == "config":
        config.model.test_cfg.nms.iou_threshold = 0.8
    elif change == "split":
        settings["split"] = "test"
    elif change == "weights":
        with open(folder / "gfl.pth", "ab") as file:
            file.write(b"x")
    elif change == "labels":
        path, content = annotations(folder)
        content["annotations"][-1]["bbox"][2] += 1
        path.write_text(json.dumps(content))
    elif change == "image":
        images = sorted((folder / "data" / "val").iterdir())
        images[-1].write_bytes(images[0].read_bytes() + b"x")
    assert (fingerprint(config, **settings) == before) == (change in ("nothing", "path of the checkpoint"))


def test_two_models_are_compared_object_by_object(folder: Path, written: Written) -> None:
    detector_config(folder).dump(folder / "one.py")
    other = detector_config(folder, **{"model.test_cfg.nms.iou_threshold": 0.3})
    other.dump(folder / "other.py")
    words = [folder / "one.py", folder / "gfl.pth", folder / "other.py", folder / "gfl.pth", "-o", folder / "out"]
    assert cli.main(["report", *map(str, words)]) == 0
    comparison, objects = written.content.comparison, written.examinations[0].images
    assert comparison.models == ("one", "other") == tuple(one.name for one in written.content.models)
    assert sum(comparison.found.values()) == sum(len(one.objects.labels) for one in objects)
    assert comparison.found["one"] + comparison.found["other"] == len(comparison.differences)
    assert (folder / "out" / "other" / "suspects.csv").read_text() == "other"
    with open(folder / "out" / "errors.csv", newline="") as file:
        assert {row["model"] for row in csv.DictReader(file)} == {"one", "other"}


def test_models_of_different_data_are_reported_but_not_compared(folder: Path, written: Written) -> None:
    detector_config(folder).dump(folder / "one.py")
    fewer = detector_config(folder, **{"val_dataloader.dataset.indices": 5})
    fewer.dump(folder / "other.py")
    words = [folder / "one.py", folder / "gfl.pth", folder / "other.py", folder / "gfl.pth", "-o", folder / "out"]
    assert cli.main(["report", *map(str, words)]) == 0
    assert written.content.comparison is None
    assert all("The models are not compared" in one.missing[-1] for one in written.content.models)


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("atss", "The head is a ATSSHead of mmdet, which does not say how certain it is of the sides of a box."),
        ("dirac", "Boxes of a DiracBBoxCoder have no uncertainty"),
    ],
)
def test_a_head_without_distributions_has_the_other_parts(
    folder: Path, written: Written, capsys: pytest.CaptureFixture, name: str, sentence: str
) -> None:
    config = atss_config(folder) if name == "atss" else detector_config(folder, **DIRAC)
    assert report(folder, config=config, checkpoint=f"{name}.pth") == 0
    (model,) = written.content.models
    assert model.sides is None and model.suspects == () and written.asked == ["config"]
    assert model.accuracy.metrics["AP50"] >= 0 and len(model.scores.iou) and any(one.detections for one in model.judged)
    assert model.missing[0].startswith(sentence) and f"config: {sentence}" in capsys.readouterr().out


@pytest.mark.parametrize("what", ["missing", "no image", "empty"])
def test_an_image_that_cannot_be_read_is_left_out_and_named(
    folder: Path, written: Written, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    """It is tried again by the next command, which predicts no other image."""
    path = sorted((folder / "data" / "val").iterdir())[3]
    content = path.read_bytes()
    if what == "missing":
        path.unlink()
    else:
        path.write_bytes(b"" if what == "empty" else b"text")
    assert len(predicted(folder, monkeypatch)) == IMAGES - 1
    (sentence,) = said(written.content.models[0])
    assert sentence.startswith(f"1 of {IMAGES} images could not be read and are left out of all numbers: {path} (")
    assert path.name not in {Path(one.path).name for one in written.examinations[0].images}
    assert predicted(folder, monkeypatch) == []
    path.write_bytes(content)
    assert predicted(folder, monkeypatch) == list(range(IMAGES))  # the data are others now
    assert said(written.content.models[0]) == []


def annotations(root: Path) -> tuple[Path, dict]:
    path = root / "data" / "val.json"
    return path, json.loads(path.read_text())


def test_images_without_objects_give_a_report(folder: Path, written: Written) -> None:
    path, content = annotations(folder)
    path.write_text(json.dumps({**content, "annotations": []}))
    config = detector_config(folder, **{"val_dataloader.dataset.filter_cfg": None})
    assert report(folder, config=config) == 0
    (model,) = written.content.models
    assert np.isnan(model.accuracy.metrics["AP"]) and model.sides is None
    assert model.missing[0].startswith("The images have no labelled objects")
    assert all(not one.missed for one in model.judged) and any(one.detections for one in model.judged)


def test_no_detection_above_the_threshold_gives_a_report(folder: Path, written: Written) -> None:
    assert report(folder, config=detector_config(folder, **{"model.test_cfg.score_thr": 0.999})) == 0
    (model,) = written.content.models
    assert model.accuracy.metrics["AP"] == 0 and model.scores is None and model.sides is None
    assert any(one.startswith("The model has no detection above test_cfg.score_thr") for one in model.missing)
    assert sum(len(one.missed) for one in model.judged) == sum(
        len(one.objects.labels) for one in written.examinations[0].images
    )


def test_a_class_that_is_never_seen_has_no_ap(folder: Path, written: Written) -> None:
    path, content = annotations(folder)
    seven = next(one["id"] for one in content["categories"] if one["name"] == "7")
    kept = [one for one in content["annotations"] if one["category_id"] != seven]
    path.write_text(json.dumps({**content, "annotations": kept}))
    assert report(folder) == 0
    (model,) = written.content.models
    assert np.isnan(model.accuracy.per_class["7"]) and model.accuracy.metrics["AP"] >= 0
    assert any(
        one.startswith("Classes without an object in these images have no AP: ") and "7" in one for one in model.missing
    )


def test_suspect_labels_that_are_not_possible_are_a_sentence(
    folder: Path, written: Written, monkeypatch: pytest.MonkeyPatch
) -> None:
    def few(examination: Examination, level: float) -> tuple:
        raise ValueError("a level of 0.9 needs more images")

    monkeypatch.setattr(sys.modules["gfl_plugin.analysis.report.suspect_labels"], "find_suspects", few)
    assert report(folder) == 0
    (model,) = written.content.models
    assert model.suspects is None
    assert model.missing[-1] == "There is no list of suspect labels: a level of 0.9 needs more images."


def empty(root: Path) -> dict[str, object]:
    path, content = annotations(root)
    path.write_text(json.dumps({**content, "images": [], "annotations": []}))
    return {}


def without_images(root: Path) -> dict[str, object]:
    shutil.rmtree(root / "data" / "val")
    return {}


def without_labels(root: Path) -> dict[str, object]:
    resize = dict(type="Resize", scale=(64, 64), keep_ratio=True)
    meta = dict(type="PackDetInputs", meta_keys=("img_id", "img_path", "ori_shape", "img_shape", "scale_factor"))
    return {"val_dataloader.dataset.pipeline": [dict(type="LoadImageFromFile"), resize, meta]}


@pytest.mark.parametrize(
    ("words", "change", "message"),
    [
        (
            ["other.py"],
            dict,
            "each config needs its checkpoint: CONFIG CHECKPOINT [CONFIG CHECKPOINT ...]; got 3 names",
        ),
        (["--level", 90], dict, "--level is 90; it must be a number between 0 and 1, such as 0.9"),
        (["--level", "nan"], dict, "--level is nan; it must be"),
        (["no.py", "no.pth"], dict, "checkpoint not found: no.pth"),
        ([], empty, "val.json has no images; check ann_file"),
        ([], without_images, f"none of the {IMAGES} images of val_dataloader can be read; the first: "),
        ([], without_labels, "no ground truth found in image"),
        ([], lambda root: {"val_dataloader": None}, "the config has no val_dataloader"),
        (
            [],
            lambda root: {"val_dataloader.dataset.metainfo.classes": tuple("012")},
            "the data have the classes 0, 1, 2;",
        ),
    ],
    ids=["odd", "level", "no level", "no checkpoint", "empty", "no images", "no labels", "no split", "classes"],
)
def test_mistakes_are_errors_of_one_line(
    folder: Path, written: Written, capsys: pytest.CaptureFixture, words: list, change, message: str
) -> None:
    changes = change(folder) if change is not dict else {}
    assert report(folder, *words, config=detector_config(folder, **changes)) == 2
    *_, line = capsys.readouterr().err.splitlines()
    assert line.startswith("gfl-plugin report: ") and message in line
    assert written.content is None


def test_a_file_is_no_folder(folder: Path, written: Written, capsys: pytest.CaptureFixture) -> None:
    (folder / "out").write_text("kept")
    assert report(folder) == 2
    assert f"{folder / 'out'} is a file; name a folder" in capsys.readouterr().err
    assert (folder / "out").read_text() == "kept"


@pytest.fixture
def display() -> Iterator:
    with progress_display(output_console()) as shown:
        yield shown


def test_workers_read_the_images_too(folder: Path, display) -> None:
    """Also those that cannot be read."""
    path = sorted((folder / "data" / "val").iterdir())[0]
    path.unlink()
    examined = {}
    for workers in (0, 2):
        cfg = detector_config(folder, **{"val_dataloader.num_workers": workers})
        subject = DetectorSubject("name", "config.py", cfg, folder / "gfl.pth", "val")
        examined[workers] = examine(subject, folder / f"out_{workers}", display)
    assert [one.scores.tolist() for one in examined[0].images] == [one.scores.tolist() for one in examined[2].images]
    assert examined[0].missing == examined[2].missing and str(path) in examined[0].missing[-1]
