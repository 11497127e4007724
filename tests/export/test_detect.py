"""detect.py: the numbers of OpenCV, of MMDetection and of the heads, without any of them; and its files and errors."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from cases import Recipe, our_head, random_batch, record
from export.made_models import DESCRIPTION, box_outputs, described, write_made
from hypothesis import given, settings
from hypothesis import strategies as st
from mmcv.image import rescale_size
from mmdet.models import DetDataPreprocessor
from mmengine.config import ConfigDict
from PIL import Image
from sizes import scaled
from torch import Tensor

from gfl_plugin.export.runner import detect
from gfl_plugin.export.runner.detect import Detections, Detector
from gfl_plugin.heads.postprocess import postprocess
from gfl_plugin.structures.detections import Detections as HeadDetections

PROGRAM = Path(detect.__file__)
BOX = [10.0, 20.0, 60.0, 70.0]


def noise(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


# -----------------------------------------------------------------------------------------------------------------
# Images
# -----------------------------------------------------------------------------------------------------------------

SIDE = st.integers(1, 90)


@pytest.mark.scaled
@settings(max_examples=scaled(100))
@given(SIDE, SIDE, SIDE, SIDE, st.integers(0, 1000))
def test_resizing_gives_the_pixels_of_opencv(height: int, width: int, new_height: int, new_width: int, seed: int):
    image = noise(height, width, seed)
    expected = cv2.resize(image, (new_width, new_height), interpolation=cv2.INTER_LINEAR)
    found = detect.resize(image, (new_width, new_height))
    difference = np.abs(found.astype(int) - expected).max()
    assert record("resized images of detect.py to OpenCV's, gray levels", difference) == 0


@pytest.mark.parametrize("new", [(320, 240), (683, 512), (1067, 800), (213, 160), (640, 480), (60, 400), (2048, 700)])
def test_resizing_gives_the_pixels_of_opencv_for_usual_sizes(new: tuple[int, int]):
    image = noise(480, 640)
    assert np.array_equal(detect.resize(image, new), cv2.resize(image, new, interpolation=cv2.INTER_LINEAR))


@given(st.integers(1, 5000), st.integers(1, 5000), st.integers(1, 2000), st.integers(1, 2000))
def test_the_size_of_a_resized_image_is_that_of_mmdetection(width: int, height: int, one: int, other: int):
    assert detect.resized_size((width, height), (one, other), True) == rescale_size((width, height), (one, other))
    assert detect.resized_size((width, height), (one, other), False) == (one, other)


@pytest.mark.parametrize("channels", ["rgb", "bgr"])
def test_a_prepared_image_is_that_of_mmdetection(channels: str, tmp_path: Path):
    settings = dict(preprocessing="none", channels=channels, size=(120, 90), pad_value=0.5)
    detector = Detector(write_made(tmp_path / "model.onnx", {}, described(settings)))
    image = noise(50, 77)
    inputs, scale = detector.prepare(image)
    own = DESCRIPTION.input
    preprocessor = DetDataPreprocessor(
        mean=own.mean, std=own.std, bgr_to_rgb=channels == "rgb", pad_size_divisor=own.pad_divisor, pad_value=0.5
    )
    resized = cv2.resize(image[:, :, ::-1], rescale_size((77, 50), (120, 90)))
    expected = preprocessor({"inputs": [torch.from_numpy(resized).permute(2, 0, 1)]})["inputs"]
    assert inputs["images"].shape == tuple(expected.shape)
    assert np.abs(inputs["images"] - expected.numpy()).max() <= 1e-6
    assert inputs["sizes"].tolist() == [[*resized.shape[:2]]]
    assert scale == (resized.shape[1] / 77, resized.shape[0] / 50)


def photo(path: Path, mode: str) -> Path:
    """An image file; colors are smooth, as JPEG decoders differ slightly."""
    across, down = np.meshgrid(np.linspace(0, 255, 60), np.linspace(0, 255, 40))
    rgb = np.stack([across, down, 255 - across], axis=2).astype(np.uint8)
    image = Image.fromarray(rgb)
    if mode == "I;16":
        Image.fromarray((across * 256 + down).astype(np.uint16)).save(path)
    elif mode == "P with transparency":
        image.convert("P").save(path, transparency=3)
    elif mode in ("RGBA", "LA"):
        image = image.convert(mode[:-1]).convert(mode)
        image.putalpha(Image.fromarray(down.astype(np.uint8)))
        image.save(path)
    elif mode.startswith("EXIF"):
        exif = Image.Exif()
        exif[0x0112] = int(mode[-1])
        image.save(path, exif=exif)
    else:
        image.convert(mode).save(path)
    return path


@pytest.mark.parametrize("mode", ["RGB", "L", "1", "P", "P with transparency", "RGBA", "LA", "I;16"])
def test_an_image_of_each_kind_is_read_as_opencv_reads_it(mode: str, tmp_path: Path):
    path = photo(tmp_path / "photo.png", mode)
    expected = cv2.imread(str(path), cv2.IMREAD_COLOR)[:, :, ::-1]
    assert np.array_equal(detect.read_image(path), expected)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_an_image_is_turned_as_its_exif_data_say(orientation: int, tmp_path: Path):
    path = photo(tmp_path / "photo.jpg", f"EXIF {orientation}")
    expected = cv2.imread(str(path), cv2.IMREAD_COLOR)[:, :, ::-1].astype(int)
    found = detect.read_image(path)
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() <= 2


# -----------------------------------------------------------------------------------------------------------------
# From the network's outputs to boxes
# -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("class_agnostic", [False, True])
@pytest.mark.parametrize("lowest", [0, -80])  # negative coordinates: boxes of different classes can meet when shifted
@pytest.mark.parametrize("seed", range(5))
def test_nms_is_that_of_the_heads(seed: int, lowest: int, class_agnostic: bool):
    random = np.random.default_rng(seed)
    centers, sides = random.integers(lowest, lowest + 60, (300, 2)), random.integers(0, 40, (300, 2))
    boxes = np.concatenate([centers, centers + sides], axis=1).astype(np.float32)
    scores = random.choice(np.linspace(0.1, 0.9, 30), 300).astype(np.float32)  # with ties
    labels = random.integers(0, 3, 300)
    found = Detections(boxes, scores, labels)
    rows = detect.nms(found, 0.5, class_agnostic, 60)
    heads = HeadDetections(*map(torch.from_numpy, (boxes, scores, labels, np.zeros(300, np.int64))))
    nms = dict(type="nms", iou_threshold=0.5, class_agnostic=class_agnostic)
    expected = postprocess(heads, [{}], ConfigDict(nms=nms, max_per_img=60), rescale=False, with_nms=True)[0]
    assert len(rows) > 20
    assert np.array_equal(boxes[rows], expected.boxes.numpy())
    assert np.array_equal(scores[rows], expected.scores.numpy())
    assert np.array_equal(labels[rows], expected.labels.numpy())


@pytest.mark.parametrize("changes", [{}, dict(quality="iou"), dict(bbox_coder="bins"), dict(classes=1)])
def test_maps_of_levels_give_the_detections_of_the_head(changes: dict, tmp_path: Path):
    classes = changes.get("classes", 7)
    settings = dict(num_classes=classes)
    if "quality" in changes:
        settings.update(quality=dict(type="QualityBranch", measure="iou"), loss_cls=None)
    if "bbox_coder" in changes:
        bins = [float(value**1.5) / 3 for value in range(17)]
        settings.update(bbox_coder=dict(type="IntegralBBoxCoder", bins=bins))
    head = our_head(**settings)
    head.test_cfg.with_uncertainty = True
    batch = random_batch(Recipe(classes=classes, seed=1, mean=-3.0))
    quality = None
    if "quality" in changes:
        quality = [torch.randn(2, 1, *level.shape[-2:]) for level in batch.cls_scores]
    expected = head.predict_by_feat(batch.cls_scores, batch.bbox_preds, quality, batch.img_metas, rescale=True)
    detector = Detector(write_made(tmp_path / "model.onnx", {}, raw_description(head)))
    maps = {"scores": batch.cls_scores, "sides": batch.bbox_preds, "quality": quality or []}
    outputs = {f"{name}_{number}": one.numpy() for name, own in maps.items() for number, one in enumerate(own)}
    sizes = np.array([meta["img_shape"] for meta in batch.img_metas])
    found = detector.finish(outputs, sizes, [meta["scale_factor"] for meta in batch.img_metas])
    for own, theirs in zip(found, expected):
        assert len(theirs) == len(own) > 10
        assert_near("detections of detect.py to the head's, raw, px", own.boxes, theirs.bboxes, 1e-3)
        assert_near("scores of detect.py to the head's, raw", own.scores, theirs.scores, 1e-5)
        assert_near("std of detect.py to the head's, raw, px", own.std, theirs.bbox_std, 1e-3)
        assert np.array_equal(own.labels, theirs.labels.numpy())


def raw_description(head: torch.nn.Module):
    """A file with the outputs of a head."""
    return described(
        contract="raw",
        classes=tuple(map(str, range(head.num_classes))),
        strides=tuple(map(int, head.layout.strides)),
        bins=tuple(head.bbox_coder.bins().tolist()),
        with_std=True,
        topk=head.test_cfg.nms_pre,
        min_box_size=head.test_cfg.min_bbox_size,
    )


def assert_near(name: str, found: np.ndarray, expected: Tensor, limit: float) -> None:
    assert record(name, np.abs(found - expected.numpy()).max()) <= limit


def test_boxes_are_scaled_back_with_the_arithmetic_of_the_heads(tmp_path: Path):
    outputs = box_outputs([BOX, BOX, [0, 0, 9, 9]], [0.9, 0.8, 0.05], [1, 0, 0], [[1, 2, 3, 4]] * 3)
    detector = Detector(write_made(tmp_path / "model.onnx", outputs, described(dict(size=(100, 90)), with_std=True)))
    found = detector(noise(30, 64))
    size = detect.resized_size((64, 30), (100, 90), True)
    factor = torch.tensor([1 / (size[0] / 64), 1 / (size[1] / 30)] * 2)
    assert found.labels.tolist() == [1, 0]  # the threshold itself is not above the threshold
    assert np.array_equal(found.boxes, (torch.tensor([BOX, BOX]) * factor).numpy())
    assert np.array_equal(found.std, (torch.tensor([[1.0, 2, 3, 4]] * 2) * factor).numpy())
    assert len(detector(noise(30, 64), score=0.85)) == 1


def test_a_file_with_nms_is_taken_as_it_is(tmp_path: Path):
    outputs = {
        "image": np.array([0, 0, 1]),
        "boxes": np.array([BOX, BOX, BOX], np.float32),
        "scores": np.array([0.9, 0.8, 0.7], np.float32),
        "labels": np.array([0, 0, 1]),
    }
    detector = Detector(write_made(tmp_path / "model.onnx", outputs, described(contract="nms")))
    found = detector.finish(outputs, np.array([[90, 90]] * 3), [(1.0, 1.0), (2.0, 1.0), (1.0, 1.0)])
    assert [len(own) for own in found] == [2, 1, 0]
    assert found[1].boxes.tolist() == [[5.0, 20.0, 30.0, 70.0]]


# -----------------------------------------------------------------------------------------------------------------
# The program
# -----------------------------------------------------------------------------------------------------------------

# Refuses what a device does not have.
BLOCKER = """
import importlib.abc, runpy, sys
class Blocker(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {"torch", "mmdet", "mmengine", "mmcv", "cv2", "gfl_plugin", "onnx", "scipy", "rich"}:
            raise ImportError(f"{name} is not installed here")
sys.meta_path.insert(0, Blocker())
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The folder of an export, and two images."""
    outputs = box_outputs([BOX, [30, 5, 50, 45]], [0.9, 0.4], [0, 1], [[2, 3, 4, 5]] * 2)
    write_made(tmp_path / "model.onnx", outputs, described(with_std=True))
    (tmp_path / "images" / "inner").mkdir(parents=True)
    Image.fromarray(noise(80, 90)).save(tmp_path / "images" / "one.png")
    Image.fromarray(noise(80, 100)).save(tmp_path / "images" / "inner" / "one.jpg")
    return tmp_path


def run(folder: Path, *words: object) -> int:
    return detect.main([*map(str, words), "--model", str(folder / "model.onnx"), "-o", str(folder / "out")])


def results(folder: Path) -> dict:
    return json.loads((folder / "out" / "results.json").read_text())


def test_the_program_runs_where_only_numpy_pillow_and_onnxruntime_are_installed(folder: Path):
    copied = folder / "detect.py"
    copied.write_bytes(PROGRAM.read_bytes())
    words = [sys.executable, "-I", "-c", BLOCKER, str(copied), "images", "-o", "out"]
    done = subprocess.run(words, cwd=folder, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"4 objects in 2 images: {Path('out', 'results.json')}\n"
    assert sorted(path.name for path in (folder / "out" / "pictures").iterdir()) == ["one.jpg", "one_2.jpg"]


def test_results_have_boxes_scores_classes_and_deviations(folder: Path):
    assert run(folder, folder / "images" / "one.png", "--no-pictures", "--score", 0.5) == 0
    (image,) = results(folder)["images"]
    assert image == {
        "file": str(folder / "images" / "one.png"),
        "width": 90,
        "height": 80,
        "detections": [{"class": "cat", "score": 0.9, "box": BOX, "std": [2, 3, 4, 5]}],
    }
    assert not (folder / "out" / "pictures").exists()


def test_a_picture_shows_where_sides_may_be():
    black = np.zeros((100, 100, 3), np.uint8)
    found = Detections(
        np.array([[20, 30, 60, 80]], np.float32), np.ones(1, np.float32), np.zeros(1, int), np.array([[8, 2, 4, 6]])
    )
    picture = np.asarray(detect.draw(black, found, ["cat"]))
    band = picture[55] > 0  # along a row in the middle of the box
    columns = np.flatnonzero(band.any(axis=1))
    assert columns.tolist() == [*range(12, 29), *range(56, 65)]  # left 20 ± 8, right 60 ± 4
    without = np.asarray(detect.draw(black, Detections(found.boxes, found.scores, found.labels), ["cat"]))
    assert np.flatnonzero((without[55] > 0).any(axis=1)).tolist() == [20, 60]


def test_pictures_of_an_earlier_run_are_not_searched(folder: Path):
    for _ in range(2):
        assert run(folder, folder) == 0
        assert len(results(folder)["images"]) == 2


def test_a_damaged_image_is_named_and_the_others_are_done(folder: Path, capsys: pytest.CaptureFixture):
    whole = (folder / "images" / "one.png").read_bytes()
    (folder / "images" / "half.png").write_bytes(whole[: len(whole) // 2])
    (folder / "images" / "no.jpg").write_text("not an image")
    assert run(folder, folder / "images") == 1
    lines = capsys.readouterr().err.splitlines()
    assert [line.partition(": cannot be read: ")[0] for line in lines] == [
        str(folder / "images" / name) for name in ("half.png", "no.jpg")
    ]
    assert [len(results(folder)[name]) for name in ("images", "failed")] == [2, 2]


def test_progress_is_printed_in_lines(folder: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(detect, "INTERVAL", 0.0)
    assert run(folder, folder / "images", "--no-pictures") == 0
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(",")[0] for line in lines] == ["1 of 2 images", "2 of 2 images"]


def test_a_class_may_have_a_name_in_any_script(folder: Path):
    names = described(with_std=True, classes=("кот", "犬"))
    write_made(folder / "model.onnx", box_outputs([BOX], [0.9], [1], [[1, 1, 1, 1]]), names)
    assert run(folder, folder / "images" / "one.png") == 0
    assert results(folder)["images"][0]["detections"][0]["class"] == "犬"


class TestErrors:
    """Each is one line that says what to do."""

    def error(self, capsys: pytest.CaptureFixture, folder: Path, *words: object) -> str:
        assert run(folder, *words) == 1
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith("detect.py: error: ")
        return line

    def test_missing_image(self, folder: Path, capsys: pytest.CaptureFixture):
        assert "file not found: nothing.png" in self.error(capsys, folder, "nothing.png")

    def test_no_image(self, folder: Path, capsys: pytest.CaptureFixture):
        (folder / "empty").mkdir()
        assert "no image (.bmp, .jpeg" in self.error(capsys, folder, folder / "empty")

    def test_missing_model(self, folder: Path, capsys: pytest.CaptureFixture):
        (folder / "model.onnx").unlink()
        assert "model not found: " in self.error(capsys, folder, folder / "images")

    def test_a_file_that_is_no_model(self, folder: Path, capsys: pytest.CaptureFixture):
        (folder / "model.onnx").write_text("<html>not found</html>")
        assert "is not an ONNX file" in self.error(capsys, folder, folder / "images")

    def test_a_model_of_another_origin(self, folder: Path, capsys: pytest.CaptureFixture):
        write_made(folder / "model.onnx", box_outputs([BOX], [0.9], [1]), None)
        assert "is not a model of `gfl-plugin export`" in self.error(capsys, folder, folder / "images")

    def test_metadata_that_are_not_a_description(self, folder: Path, capsys: pytest.CaptureFixture):
        write_made(folder / "model.onnx", box_outputs([BOX], [0.9], [1]), {"format": 1, "classes": ["cat"]})
        assert "metadata 'gfl_plugin'" in self.error(capsys, folder, folder / "images")

    def test_a_newer_form(self, folder: Path, capsys: pytest.CaptureFixture):
        newer = {**asdict(DESCRIPTION), "format": 9, "version": "7.0"}
        write_made(folder / "model.onnx", box_outputs([BOX], [0.9], [1]), newer)
        line = self.error(capsys, folder, folder / "images")
        assert "has format 9 of gfl_plugin 7.0" in line and "reads formats up to 1" in line

    def test_an_onnxruntime_that_is_too_old(self, folder: Path, capsys: pytest.CaptureFixture):
        write_made(folder / "model.onnx", box_outputs([BOX], [0.9], [1]), DESCRIPTION, opset=99)
        line = self.error(capsys, folder, folder / "images")
        assert "opset 99 and IR version 9" in line and "pip install --upgrade onnxruntime" in line
        assert len(line) < 500 + len(str(folder))

    def test_sides_that_it_does_not_decode(self, folder: Path, capsys: pytest.CaptureFixture):
        write_made(folder / "model.onnx", {}, described(contract="raw", bins=None))
        assert "export with contract 'boxes' or 'nms'" in self.error(capsys, folder, folder / "images")
