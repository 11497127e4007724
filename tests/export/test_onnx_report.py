"""Reports and predictions of ONNX files: a network that outputs the right distributions has an AP of 100."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import ModuleType

import gfl_plugin  # noqa: F401  # isort: skip  (must precede mmdet without compiled ops)
import numpy as np
import pytest
from known_boxes import STEP, KnownImage, ToInput, known_maps, made_images, write_images, write_labels
from onnx_graphs import Code, Form, Head, known_network
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from gfl_plugin import cli
from gfl_plugin.analysis.report.examined_image import Examination
from gfl_plugin.analysis.report.report_content import ReportContent

IMAGES, NAMES = 9, ("cat", "big_dog", "cow")


def stretched(size: tuple[int, int]) -> ToInput:
    return lambda x, y, width, height: (x * size[0] / width, y * size[1] / height)


def letterboxed(size: tuple[int, int]) -> ToInput:
    def to_input(x: float, y: float, width: int, height: int) -> tuple[float, float]:
        ratio = min(size[0] / width, size[1] / height)
        new = [round(width * ratio), round(height * ratio)]
        return x * new[0] / width + (size[0] - new[0]) // 2, y * new[1] / height + (size[1] - new[1]) // 2

    return to_input


SEPARATE = dict(joined=False, concatenated=False)
# Name: layout, head, center of the first cell in strides, form, placement, first channel and its normalization.
BGR, RGB = ("blue", 103.53, 57.375), ("red", 123.675, 58.395)
CASES = {
    "nanodet_plus 320": (
        *("nanodet_plus", Head((320, 320), (8, 16, 32, 64), 3, 8), 0.0, Form(names=("output",))),
        *(stretched((320, 320)), BGR),
    ),
    "nanodet_plus 416": (
        *("nanodet_plus", Head((416, 416), (8, 16, 32, 64), 3, 8), 0.0, Form(names=("output",))),
        *(stretched((416, 416)), BGR),
    ),
    "nanodet_plus, three strides, wide": (
        *("nanodet_plus", Head((416, 256), (8, 16, 32), 3, 12), 0.0, Form(sigmoid=False)),
        *(stretched((416, 256)), BGR),
    ),
    "nanodet": (
        *("nanodet", Head((320, 320), (8, 16, 32), 3, 8), 0.5, Form(**SEPARATE)),
        *(letterboxed((320, 320)), BGR),
    ),
    "picodet": (
        *("picodet", Head((320, 320), (8, 16, 32, 64), 3, 8), 0.5, Form(**SEPARATE)),
        *(stretched((320, 320)), RGB),
    ),
    "yolov8": (
        "yolov8",
        Head((256, 320), (8, 16, 32), 3, 16),
        0.5,
        Form(concatenated=False, maps=True, channels_last=False, sides_first=True, sigmoid=False),
        letterboxed((256, 320)),
        ("red", 0.0, 255.0),
    ),
}


def network(root: Path, name: str, images: list[KnownImage]) -> Path:
    """The network that finds their objects; the images and labels lie beside it."""
    _, head, offset, form, to_input, (channel, mean, std) = CASES[name]
    write_images(images, root / "images", channel)
    write_labels(images, root / "labels.json", NAMES)
    maps = known_maps(images, head, offset, to_input)
    return known_network(root / "model.onnx", head, form, maps, Code(STEP, mean, std))


class Shown:
    """What reached the page, which is not written."""

    def __init__(self) -> None:
        self.content: ReportContent | None = None
        self.examination: Examination | None = None

    def page(self, content: ReportContent, examinations: list[Examination], folder: Path) -> None:
        self.content, (self.examination,) = content, examinations


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> Shown:
    found, module = Shown(), ModuleType("gfl_plugin.analysis.report.page")
    module.write_page = found.page
    monkeypatch.setitem(sys.modules, module.__name__, module)
    return found


def report(root: Path, layout: str, *words: object) -> int:
    labels = ["--annotations", root / "labels.json", "--images", root / "images"]
    arguments = ["report", "--onnx", root / "model.onnx", "--layout", layout, *labels, "-o", root / "out", *words]
    return cli.main([str(one) for one in arguments])


@pytest.mark.parametrize("name", CASES)
def test_the_right_distributions_have_an_ap_of_100(
    name: str, tmp_path: Path, shown: Shown, capsys: pytest.CaptureFixture
) -> None:
    images = made_images(IMAGES, len(NAMES))
    network(tmp_path, name, images)
    keys = dict(base=CASES[name][0], classes=list(NAMES))  # with the classes, bins follow from the file
    (tmp_path / "layout.json").write_text(json.dumps(keys))
    assert report(tmp_path, str(tmp_path / "layout.json")) == 0
    printed = capsys.readouterr().out
    (model,) = shown.content.models
    assert model.accuracy.metrics["AP"] == pytest.approx(100) and "100.0" in printed
    assert all(value == pytest.approx(100) for value in model.accuracy.per_class.values())
    head, examination = CASES[name][1], shown.examination
    assert examination.classes == NAMES and examination.bins == tuple(map(float, range(head.bins)))
    for image, one in zip(images, examination.images, strict=True):
        assert (one.width, one.height) == (image.width, image.height)
        order = np.lexsort(one.detections.boxes.T), np.lexsort(np.array([box for _, box in image.objects]).T)
        found, true = one.detections.boxes[order[0]], np.array([box for _, box in image.objects])[order[1]]
        np.testing.assert_allclose(found, true, atol=1e-2)
        # A distribution over two neighbouring bins has at most half a step of standard deviation.
        step = one.sides.scales.__abs__()
        assert (one.sides.std <= 0.5 * step * 1.001).all() and one.sides.std.max() > 0.1 * step.min()
    assert model.sides is not None and model.sides.std.shape == (sum(len(one.objects) for one in images), 4)


def test_the_whole_page_is_written(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    network(tmp_path, "nanodet_plus 320", made_images(IMAGES, len(NAMES)))
    assert report(tmp_path, "nanodet_plus", "--level", 0.5) == 0
    out, printed = tmp_path / "out", capsys.readouterr().out
    page, numbers = (out / "report.html").read_text(), json.loads((out / "report.json").read_text())
    assert "nanodet_plus: 3 classes (probabilities), 8 bins from 0 to 7 strides" in page and "100.0" in page
    assert "The network has no names of classes; classes are matched in their order: 0 = cat, 1 = big_dog" in printed
    assert "model on labels" in json.dumps(numbers)
    assert {"suspects.csv", "detections.csv", "predictions"} <= {one.name for one in out.iterdir()}


def test_ap_is_that_of_the_predictions(tmp_path: Path, shown: Shown) -> None:
    """Boxes that are beside the objects, with scores of all sizes: pycocotools gives the same AP for predict's JSON."""
    images, random = made_images(12, len(NAMES), seed=1), np.random.default_rng(0)
    network(tmp_path, "nanodet_plus 320", images)
    moved = [
        KnownImage(
            image.width,
            image.height,
            tuple((label, tuple(np.array(box) + random.uniform(-9, 9, 4))) for label, box in image.objects),
        )
        for image in images
    ]
    _, head, offset, form, to_input, (_, mean, std) = CASES["nanodet_plus 320"]
    maps = known_maps(moved, head, offset, to_input)
    for scores, _ in maps:
        scores[scores > 0] = random.uniform(-2, 4, (scores > 0).sum())
    known_network(tmp_path / "model.onnx", head, form, maps, Code(STEP, mean, std))
    assert report(tmp_path, "nanodet_plus") == 0
    ours = shown.content.models[0].accuracy.metrics
    words = ["predict", "--onnx", tmp_path / "model.onnx", "--layout", "nanodet_plus", tmp_path / "images"]
    assert cli.main([str(one) for one in (*words, "--score-thr", 0, "-o", tmp_path / "found")]) == 0
    found = [
        {
            "image_id": int(Path(entry["file"]).stem),
            "category_id": int(one["class"]) + 1,
            "bbox": [*one["box"][:2], one["box"][2] - one["box"][0], one["box"][3] - one["box"][1]],
            "score": one["score"],
        }
        for entry in json.loads((tmp_path / "found" / "results.json").read_text())["images"]
        for one in entry["detections"]
    ]
    truth = COCO(str(tmp_path / "labels.json"))
    evaluation = COCOeval(truth, truth.loadRes(found), "bbox")
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    theirs = dict(zip(("AP", "AP50", "AP75"), 100 * evaluation.stats))
    assert 20 < theirs["AP"] < 80
    assert {name: ours[name] for name in theirs} == pytest.approx(theirs, abs=0.05)


@pytest.mark.parametrize("names", [("Cow", "cat", "big dog"), None])
def test_classes_are_matched_by_name_else_by_order(
    names: tuple[str, ...] | None, tmp_path: Path, shown: Shown, capsys: pytest.CaptureFixture
) -> None:
    """A network whose classes have another order than the labels has an AP of 100 only if they are matched by name."""
    images = made_images(IMAGES, len(NAMES))
    network(tmp_path, "nanodet_plus 320", images)
    moved = {0: 1, 1: 2, 2: 0}  # of the network's classes: cat is the second, big_dog the third, cow the first
    other = [
        KnownImage(one.width, one.height, tuple((moved[label], box) for label, box in one.objects)) for one in images
    ]
    _, head, offset, form, to_input, (_, mean, std) = CASES["nanodet_plus 320"]
    maps = known_maps(other, head, offset, to_input)
    known_network(tmp_path / "model.onnx", head, form, maps, Code(STEP, mean, std))
    keys = dict(base="nanodet_plus", **({} if names is None else {"classes": names}))
    (tmp_path / "layout.json").write_text(json.dumps(keys))
    assert report(tmp_path, str(tmp_path / "layout.json")) == 0
    found = shown.content.models[0].accuracy.metrics["AP"]
    printed = capsys.readouterr().out
    assert (found == pytest.approx(100)) == (names is not None)
    assert ("classes are matched in their order: 0 = cat, 1 = big_dog, 2 = cow." in printed) == (names is None)


def test_labels_may_come_from_a_config(tmp_path: Path, shown: Shown) -> None:
    network(tmp_path, "nanodet_plus 320", made_images(IMAGES, len(NAMES)))
    dataset = dict(
        type="CocoDataset",
        data_root=f"{tmp_path}/",
        ann_file="labels.json",
        data_prefix=dict(img="images/"),
        metainfo=dict(classes=NAMES),
        test_mode=True,
        pipeline=[
            dict(type="LoadImageFromFile"),
            dict(type="LoadAnnotations", with_bbox=True),
            dict(type="PackDetInputs"),
        ],
    )
    loader = dict(batch_size=1, num_workers=0, sampler=dict(type="DefaultSampler", shuffle=False), dataset=dataset)
    (tmp_path / "config.py").write_text(f'default_scope = "mmdet"\ntest_dataloader = {loader!r}\n')
    words = ["report", tmp_path / "config.py", "--onnx", tmp_path / "model.onnx", "--layout", "nanodet_plus"]
    assert cli.main([str(one) for one in (*words, "--split", "test", "-o", tmp_path / "out")]) == 0
    assert shown.content.models[0].accuracy.metrics["AP"] == pytest.approx(100) and shown.content.split == "test"


def test_an_interrupted_report_continues(tmp_path: Path, shown: Shown, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another layout or other labels begin again."""
    from gfl_plugin.analysis.report import onnx_source

    read = []

    def noting(path: str) -> np.ndarray:
        read.append(Path(path).name)
        return read_rgb(path)

    read_rgb = onnx_source.read_rgb
    monkeypatch.setattr(onnx_source, "read_rgb", noting)
    network(tmp_path, "nanodet_plus 320", made_images(IMAGES, len(NAMES)))
    for layout, expected in (("nanodet_plus", IMAGES), ("nanodet_plus", 0), ("picodet", IMAGES)):
        read.clear()
        assert report(tmp_path, layout) == 0
        assert len(read) == expected


def test_a_damaged_image_is_named_in_one_line(tmp_path: Path, shown: Shown, capsys: pytest.CaptureFixture) -> None:
    network(tmp_path, "nanodet_plus 320", made_images(IMAGES, len(NAMES)))
    (tmp_path / "images" / "3.png").write_bytes(b"no image")
    assert report(tmp_path, "nanodet_plus") == 0
    assert shown.content.models[0].accuracy.metrics["AP"] == pytest.approx(100)
    (line,) = (one for one in capsys.readouterr().out.splitlines() if "3.png" in one)
    assert line.startswith("model: 1 of 9 images could not be read and are left out of all numbers")
    words = ["predict", "--onnx", tmp_path / "model.onnx", "--layout", "nanodet_plus", tmp_path / "images", "-o"]
    assert cli.main([str(one) for one in (*words, tmp_path / "found")]) == 1
    (line,) = capsys.readouterr().err.splitlines()[-1:]
    assert line.startswith("gfl-plugin predict: ") and "3.png is not an image" in line
    (failed,) = json.loads((tmp_path / "found" / "results.json").read_text())["failed"]
    assert failed["file"].endswith("3.png")


def test_predictions_are_written_as_json_and_pictures(tmp_path: Path) -> None:
    images = made_images(3, len(NAMES))
    network(tmp_path, "yolov8", images)
    layout = tmp_path / "layout.json"
    layout.write_text(json.dumps(dict(base="yolov8", classes=NAMES)))
    words = ["predict", "--onnx", tmp_path / "model.onnx", "--layout", layout, tmp_path / "images", "-o"]
    assert cli.main([str(one) for one in (*words, tmp_path / "found")]) == 0
    results = json.loads((tmp_path / "found" / "results.json").read_text())
    assert results["classes"] == list(NAMES) and results["failed"] == []
    for number, (image, entry) in enumerate(zip(images, results["images"], strict=True)):
        assert (Path(entry["file"]).name, entry["width"], entry["height"]) == (
            f"{number}.png",
            image.width,
            image.height,
        )
        found = sorted((NAMES.index(one["class"]), one["box"]) for one in entry["detections"])
        assert [label for label, _ in found] == [label for label, _ in sorted(image.objects)]
        np.testing.assert_allclose([box for _, box in found], [box for _, box in sorted(image.objects)], atol=0.01)
        assert all(one["score"] > 0.99 and len(one["std"]) == 4 for one in entry["detections"])
        assert (tmp_path / "found" / f"{number}.png").is_file()


ONNX = ("--onnx", "{root}/model.onnx", "--layout", "nanodet_plus", "-o", "{root}/out")
LABELS = ("--annotations", "{root}/labels.json", "--images", "{root}/images")
WRONG = {
    "no labels": (ONNX, "--onnx needs labelled images: either --annotations COCO.json --images FOLDER, or one CONFIG"),
    "labels and config": (("my.py", *ONNX, *LABELS), "got my.py --annotations --images"),
    "no images": ((*ONNX, *LABELS[:2]), "got --annotations"),
    "no file": (("-o", "out"), "name CONFIG CHECKPOINT, or --onnx MODEL.onnx"),
    "layout alone": (("--layout", "yolov8", "my.py", "my.pth", "-o", "out"), "--layout is for --onnx MODEL.onnx"),
    "annotations": ((*ONNX, "--annotations", "none.json", *LABELS[2:]), "annotations not found: none.json"),
    "folder": ((*ONNX, *LABELS[:2], "--images", "nowhere"), "folder of images not found: nowhere"),
    "layout": (
        (*ONNX[:3], "yolov8", *ONNX[4:], *LABELS),
        "yolov8 does not fit {root}/model.onnx: 35 channels are not 4 * 16 bins and at least 1 class. The outputs are "
        "output (1, 2125, 35)",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_arguments_are_told_in_one_line(
    name: str, tmp_path: Path, shown: Shown, capsys: pytest.CaptureFixture
) -> None:
    words, message = WRONG[name]
    network(tmp_path, "nanodet_plus 320", made_images(3, len(NAMES)))
    assert cli.main(["report", *(word.format(root=tmp_path) for word in words)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("gfl-plugin report: ") and message.format(root=tmp_path) in line
    assert shown.content is None


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("a", "b"), "the network has 3 classes, {root}/labels.json has 2 (a, b)."),
        (
            tuple("abcdefg"),
            "has 7 (a, b, c, d, e, ...). If it was trained for the classes of the labels, its sides have 1 fewer bin "
            'than the layout says: write "classes": 7 into the layout',
        ),
    ],
)
def test_another_number_of_classes_is_an_error_that_names_both(
    names: tuple[str, ...], message: str, tmp_path: Path, shown: Shown, capsys: pytest.CaptureFixture
) -> None:
    network(tmp_path, "nanodet_plus 320", made_images(3, len(NAMES)))
    write_labels([], tmp_path / "labels.json", names)
    write_labels([KnownImage(100, 100, ())], tmp_path / "labels.json", names)
    assert report(tmp_path, "nanodet_plus") == 2
    assert message.format(root=tmp_path) in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda content: content["annotations"][0].pop("bbox"), "has 1 broken entry: annotations[0]: bbox"),
        (lambda content: content["annotations"].append(content["annotations"][0]), "object id 1 occurs more than once"),
        (lambda content: content["categories"][1].update(name="cat"), "the category 'cat' occurs more than once"),
        (lambda content: content.update(images=[], annotations=[]), "labels.json has no images"),
        (lambda content: content.pop("categories"), "is not a COCO file: it has no categories"),
    ],
)
def test_broken_labels_are_told(
    change: object, message: str, tmp_path: Path, shown: Shown, capsys: pytest.CaptureFixture
) -> None:
    network(tmp_path, "nanodet_plus 320", made_images(3, len(NAMES)))
    content = json.loads((tmp_path / "labels.json").read_text())
    change(content)
    (tmp_path / "labels.json").write_text(json.dumps(content))
    assert report(tmp_path, "nanodet_plus") == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line
