"""Layouts of other toolboxes: boxes, scores and deviations equal a slow decoding; errors name what they found."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import gfl_plugin  # noqa: F401  # isort: skip  (must precede mmdet without compiled ops)
import cv2
import numpy as np
import onnxruntime
import pytest
from onnx_graphs import Form, Head, random_network
from slow_decoding import Placement, Rules, Slow, slow_detections

from gfl_plugin.export.layouts.decode import Found
from gfl_plugin.export.layouts.detector import OnnxDetector, open_detector
from gfl_plugin.export.layouts.settings import KEYS, read_settings, shipped_layouts
from gfl_plugin.metrics.matching import pairwise_overlap

SIZE = (96, 64)  # width and height of the inputs; not square, and no multiple of 64
BGR = dict(mean=(103.53, 116.28, 123.675), std=(57.375, 57.12, 58.395), reverse=True)
PICO = dict(mean=(123.675, 116.28, 103.53), std=(58.395, 57.12, 57.375), reverse=False)
YOLO = dict(mean=(0, 0, 0), std=(255, 255, 255), reverse=False)
# What the toolboxes do, independently of the shipped files: normalization, resizing, center of the first cell in
# strides, and limits.
TOOLBOXES = {
    "nanodet": (BGR, "letterbox", 0, 0.5, dict(threshold=0.05, iou=0.6, limit=100)),
    "nanodet_plus": (BGR, "stretch", 0, 0.0, dict(threshold=0.05, iou=0.6, limit=100)),
    "picodet": (PICO, "bicubic", 0, 0.5, dict(threshold=0.025, iou=0.6, limit=100)),
    "yolov8": (YOLO, "letterbox", 114, 0.5, dict(threshold=0.001, iou=0.7, limit=300)),
}
STRIDES = (8, 16, 32)
SEPARATE = dict(joined=False, concatenated=False)
PER_STRIDE = tuple(f"{what}_pred_stride_{stride}" for what in ("cls", "dis") for stride in STRIDES)
YOLO_MAPS = Form(concatenated=False, maps=True, channels_last=False, sides_first=True, sigmoid=False)
# Name: layout, strides, classes, bins, form.
NETWORKS = {
    "nanodet": ("nanodet", STRIDES, 3, 8, Form(**SEPARATE, names=PER_STRIDE)),
    "nanodet-logits": ("nanodet", STRIDES, 2, 8, Form(**SEPARATE, sigmoid=False)),
    "nanodet-g": ("nanodet", STRIDES, 3, 11, Form(**SEPARATE, names=PER_STRIDE)),
    "nanodet-softmax-inside": ("nanodet", STRIDES, 3, 8, Form(**SEPARATE, softmax=True)),
    "nanodet-no-batch": ("nanodet", STRIDES, 3, 8, Form(**SEPARATE, squeezed=True)),
    "nanodet-concatenated": ("nanodet", STRIDES, 3, 8, Form()),
    "nanodet_plus": ("nanodet_plus", (8, 16, 32, 64), 4, 8, Form(names=("output",))),
    "nanodet_plus-three-strides": ("nanodet_plus", STRIDES, 4, 8, Form(names=("output",))),
    "nanodet_plus-one-class": ("nanodet_plus", (8, 16, 32, 64), 1, 8, Form(names=("output",))),
    "nanodet_plus-logits": ("nanodet_plus", (8, 16, 32, 64), 4, 8, Form(sigmoid=False)),
    "nanodet_plus-per-level": ("nanodet_plus", (8, 16, 32, 64), 4, 8, Form(concatenated=False)),
    "nanodet_plus-channels-first": ("nanodet_plus", (8, 16, 32, 64), 4, 8, Form(channels_last=False)),
    "picodet": ("picodet", (8, 16, 32, 64), 3, 8, Form(**SEPARATE)),
    "picodet-32-classes": ("picodet", (8, 16, 32, 64), 32, 8, Form(**SEPARATE)),  # as many channels as of the sides
    "picodet-concatenated": ("picodet", (8, 16, 32, 64), 3, 8, Form(joined=False)),
    "picodet-maps": ("picodet", (8, 16, 32, 64), 3, 8, Form(**SEPARATE, maps=True)),
    "yolov8": ("yolov8", STRIDES, 3, 16, YOLO_MAPS),
    "yolov8-sigmoid-inside": ("yolov8", STRIDES, 3, 16, replace(YOLO_MAPS, sigmoid=True)),
    "yolov8-four-strides": ("yolov8", (4, *STRIDES), 3, 16, Form(channels_last=False, sides_first=True, sigmoid=False)),
    "yolov8-six-outputs": ("yolov8", STRIDES, 3, 16, Form(**SEPARATE, maps=True, channels_last=False, sigmoid=False)),
}


def network(folder: Path, name: str, size: tuple[int, int] = SIZE, **options: object) -> tuple[Path, Head, Form]:
    _, strides, classes, bins, form = NETWORKS[name]
    head = Head(size, strides, classes, bins)
    return random_network(folder / f"{name}.onnx", head, form, **options), head, form


def picture(width: int, height: int, seed: int = 0) -> np.ndarray:
    """A smooth image, (H, W, 3) RGB."""
    small = np.random.default_rng(seed).integers(0, 256, (4, 5, 3), np.uint8)
    return cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR)


def prepared(
    image: np.ndarray, layout: str, size: tuple[int, int], other_resize: str | None = None
) -> tuple[np.ndarray, Placement]:
    """The input that a toolbox makes of an image."""
    numbers, resize, grey, *_ = TOOLBOXES[layout]
    resize = other_resize or resize
    height, width = image.shape[:2]
    new, corner = size, (0, 0)
    if resize in ("letterbox", "pad", "pad to 32"):
        ratio = min(size[0] / width, size[1] / height)
        new = tuple(round(one * ratio) for one in (width, height))
    if resize == "letterbox":
        corner = tuple((whole - used) // 2 for whole, used in zip(size, new))
    if resize == "pad to 32":
        size = tuple(-(-one // 32) * 32 for one in new)
    resized = cv2.resize(image, new, interpolation=cv2.INTER_CUBIC if resize == "bicubic" else cv2.INTER_LINEAR)
    canvas = np.full((size[1], size[0], 3), grey, np.float64)
    canvas[corner[1] : corner[1] + new[1], corner[0] : corner[0] + new[0]] = resized
    canvas = canvas[..., ::-1] if numbers["reverse"] else canvas
    canvas = (canvas - numbers["mean"]) / numbers["std"]
    placement = Placement(width, height, (new[0] / width, new[1] / height), corner)
    return canvas.transpose(2, 0, 1)[None].astype(np.float32), placement


def slowly(folder: Path, name: str, image: np.ndarray, resize: str | None = None, **changed: object) -> list[Slow]:
    """Detections of the same weights, from maps of logits."""
    layout, strides, classes, bins, _ = NETWORKS[name]
    plain = Form(concatenated=False, maps=True, channels_last=False, sigmoid=False, joined=False)
    shape = [1, 3, "height", "width"]
    path = random_network(folder / "plain.onnx", Head(SIZE, strides, classes, bins), plain, shape=shape)
    array, placement = prepared(image, layout, SIZE, resize)
    outputs = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"]).run(None, {"data": array})
    levels = [(scores[0], sides[0]) for scores, sides in zip(outputs[: len(strides)], outputs[len(strides) :])]
    *_, offset, limits = TOOLBOXES[layout]
    rules = Rules(strides, offset, tuple(map(float, range(bins))), **{"topk": 1000, **limits, **changed})
    return slow_detections(levels, rules, placement)


def assert_same(found: Found, slow: list[Slow]) -> None:
    assert len(found.scores) == len(slow) > 2
    np.testing.assert_allclose(found.scores, [one.score for one in slow], atol=1e-5)
    assert found.labels.tolist() == [one.label for one in slow]
    np.testing.assert_allclose(found.boxes, [one.box for one in slow], atol=1e-3)
    np.testing.assert_allclose(found.std, [one.std for one in slow], atol=1e-3)
    np.testing.assert_allclose(found.distributions, [one.distributions for one in slow], atol=1e-5)


@pytest.mark.parametrize("name", NETWORKS)
def test_detections_equal_a_slow_decoding(name: str, tmp_path: Path) -> None:
    path, *_ = network(tmp_path, name)
    detector, image = open_detector(path, NETWORKS[name][0]), picture(150, 70)
    assert_same(detector.find(image), slowly(tmp_path, name, image))


@pytest.mark.parametrize("name", ["nanodet", "yolov8", "nanodet_plus"])
@pytest.mark.parametrize("size", [(31, 200), (96, 64), (40, 20), (1000, 40)])
def test_images_of_any_shape_come_back_to_their_own_pixels(name: str, size: tuple[int, int], tmp_path: Path) -> None:
    path, *_ = network(tmp_path, name)
    image = picture(*size)
    found = open_detector(path, NETWORKS[name][0]).find(image)
    assert_same(found, slowly(tmp_path, name, image))
    assert found.boxes.min() >= 0 and (found.boxes <= np.tile(size, 2)).all()


def test_every_shipped_layout_is_tested_and_says_what_it_is_for() -> None:
    assert set(shipped_layouts()) == TOOLBOXES.keys() == {one[0] for one in NETWORKS.values()}
    assert all(len(read_settings(name).values["about"]) > 20 for name in shipped_layouts())


@pytest.mark.parametrize(("size", "locations"), [(320, 2125), (416, 3598)])
def test_sizes_of_nanodet_plus(size: int, locations: int, tmp_path: Path) -> None:
    """The numbers of locations are those of the published files."""
    path, *_ = network(tmp_path, "nanodet_plus", (size, size))
    detector = open_detector(path, "nanodet_plus")
    array = np.zeros((1, 3, size, size), np.float32)
    (output,) = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"]).run(None, {"data": array})
    assert output.shape == (1, locations, 4 + 32)
    assert detector.class_count == 4 and detector.bins == tuple(map(float, range(8)))


def written(folder: Path, **keys: object) -> str:
    (folder / "layout.json").write_text(json.dumps(keys))
    return str(folder / "layout.json")


def opened(folder: Path, name: str, options: Mapping[str, object] | None = None, **keys: object) -> OnnxDetector:
    path, *_ = network(folder, name, **(options or {}))
    return open_detector(path, written(folder, **keys))


def test_a_layout_without_base_needs_only_what_the_file_does_not_say(tmp_path: Path) -> None:
    keys = dict(classes=4, offset=0, color="bgr", mean=BGR["mean"], std=BGR["std"], resize="stretch")
    own = opened(tmp_path, "nanodet_plus", **keys)
    image = picture(150, 70)
    assert_same(own.find(image), slowly(tmp_path, "nanodet_plus", image))


def test_keys_replace_those_of_the_base(tmp_path: Path) -> None:
    plain = opened(tmp_path, "nanodet_plus", base="nanodet_plus").find(picture(150, 70))
    moved = opened(tmp_path, "nanodet_plus", base="nanodet_plus", offset=0.5, max_per_image=3, iou_threshold=1)
    found = moved.find(picture(150, 70))
    assert len(found.scores) == 3 < len(plain.scores)
    stride, scale = plain.points[0, 2:] * [96 / 150, 64 / 70], np.array([96 / 150, 64 / 70])
    np.testing.assert_allclose(found.points[0, :2] - plain.points[0, :2], 0.5 * stride / scale)


@pytest.mark.parametrize("size", [(150, 70), (70, 150), (33, 41)])
def test_pixels_may_be_added_at_the_right_and_bottom(size: tuple[int, int], tmp_path: Path) -> None:
    """Up to the size of the input; if that is open, up to a multiple."""
    image = picture(*size)
    fixed = opened(tmp_path, "nanodet", base="nanodet", resize="pad")
    assert_same(fixed.find(image), slowly(tmp_path, "nanodet", image, "pad"))
    options = dict(shape=[1, 3, "height", "width"])
    free = opened(tmp_path, "nanodet", options, base="nanodet", resize="pad", size=list(SIZE), size_divisor=32)
    assert_same(free.find(image), slowly(tmp_path, "nanodet", image, "pad to 32"))


@pytest.mark.parametrize("limit", [{"topk": 7}, {"iou": 0.3}, {"threshold": 0.8}, {"limit": 4}])
def test_limits_are_those_of_the_layout(limit: dict[str, float], tmp_path: Path) -> None:
    keys = {"topk": "topk", "iou": "iou_threshold", "threshold": "score_threshold", "limit": "max_per_image"}
    own = opened(tmp_path, "nanodet_plus", base="nanodet_plus", **{keys[name]: value for name, value in limit.items()})
    image = picture(150, 70)
    plain = slowly(tmp_path, "nanodet_plus", image)
    assert len(slowly(tmp_path, "nanodet_plus", image, **limit)) < len(plain)
    assert_same(own.find(image), slowly(tmp_path, "nanodet_plus", image, **limit))


def test_boxes_of_other_classes_suppress_each_other_on_request(tmp_path: Path) -> None:
    found = opened(tmp_path, "nanodet_plus", base="nanodet_plus", class_agnostic=True).find(picture(150, 70))
    overlap = pairwise_overlap(found.boxes, found.boxes)
    assert len({*found.labels.tolist()}) > 1 and (overlap[~np.eye(len(overlap), dtype=bool)] <= 0.6001).all()


def test_bins_at_unequal_steps(tmp_path: Path) -> None:
    bins = [0, 0.5, 1, 1.5, 2, 3, 5, 8]
    found = opened(tmp_path, "nanodet_plus", base="nanodet_plus", bins=bins).find(picture(150, 70))
    mean = found.distributions @ np.array(bins)
    inner = found.points[:, :1] - mean[:, :1] * found.points[:, 2:3]
    np.testing.assert_allclose(found.boxes[:, :1], np.clip(inner, 0, 150))


def test_bins_of_all_sides_may_come_before_the_next_bin(tmp_path: Path) -> None:
    head, image = Head(SIZE, (8, 16, 32, 64), 4, 8), picture(150, 70)
    path = random_network(tmp_path / "bin_major.onnx", head, Form(bin_major=True))
    detector = open_detector(path, written(tmp_path, base="nanodet_plus", bin_order="bin_major"))
    assert_same(detector.find(image), slowly(tmp_path, "nanodet_plus", image))


def test_an_open_size_is_that_of_the_layout(tmp_path: Path) -> None:
    shape = [1, 3, "height", "width"]
    detector = opened(tmp_path, "nanodet_plus", dict(shape=shape), base="nanodet_plus", size=list(SIZE))
    image = picture(150, 70)
    assert_same(detector.find(image), slowly(tmp_path, "nanodet_plus", image))


def test_names_of_classes_come_from_the_layout_or_from_the_file(tmp_path: Path) -> None:
    names = ["a", "b", "c", "d"]
    assert opened(tmp_path, "nanodet_plus", base="nanodet_plus", classes=names).classes == tuple(names)
    assert opened(tmp_path, "nanodet_plus", base="nanodet_plus").classes is None
    metadata = {"names": str(dict(enumerate("xyz")))}
    assert opened(tmp_path, "yolov8", dict(metadata=metadata), base="yolov8").classes == ("x", "y", "z")


def test_what_a_shipped_layout_gets_wrong_is_told(tmp_path: Path) -> None:
    path, *_ = network(tmp_path, "nanodet_plus-logits")
    (note,) = open_detector(path, "nanodet_plus").notes
    assert note.startswith("The scores of the file lie between -") and note.endswith("they are taken as logits.")
    path, *_ = network(tmp_path, "nanodet_plus")
    assert open_detector(path, "nanodet_plus").notes == ()


PLUS = dict(base="nanodet_plus")
WRONG = {
    "unknown key": (dict(PLUS, strieds=[8]), "unknown key 'strieds'. Did you mean \"strides\"?"),
    "renamed key": (dict(PLUS, reg_max=7), 'Write "bins": reg_max + 1.'),
    "type": (dict(PLUS, strides="8"), "\"strides\" is '8'; it must be a list of different whole numbers"),
    "base": (dict(base="nanodett"), "it must be one of nanodet, nanodet_plus, picodet, yolov8"),
    "offset": (dict(PLUS, offset=1), '"offset" is 1; it must be 0 or 0.5'),
    "bins": (dict(PLUS, bins=[0, 2, 1]), "a list of increasing distances in strides"),
    "missing keys": (dict(classes=4), 'lacks the keys "color", "mean", "std", "resize"'),
    "size": (dict(PLUS, size=[320, 320]), "is 320 x 320 (width x height); {path} takes 96 x 64"),
    "name": (dict(PLUS, joined="out"), "\"joined\" of {layout} names the output 'out'; {path} has output (1, 128, 36)"),
    "input": (dict(PLUS, input="image"), "{path} has the inputs data (1, 3, 64, 96)"),
    "strides": (
        dict(PLUS, strides=[8, 16]),
        "the strides 8, 16 have 96 + 24 = 120 locations, which the outputs do not have. The outputs are output "
        "(1, 128, 36)",
    ),
    "classes and bins": (
        dict(PLUS, classes=5, bins=8),
        "36 channels are not 4 * 8 bins and 5 classes. The outputs are output (1, 128, 36)",
    ),
    "classes": (dict(PLUS, classes=5), "36 channels without 5 classes are 31, which is not 4 times a number of bins"),
    "decoded boxes": (dict(PLUS, classes=32), "Four channels are decoded boxes, which have no distribution"),
    "one role": (dict(PLUS, scores="output"), 'has "scores" alone; write both "scores" and "sides"'),
    "probabilities": (
        dict(PLUS, sides_are="probabilities"),
        '"sides_are" of {layout} is "probabilities", but the sides of the file lie between -',
    ),
    "other input": (dict(PLUS, other_inputs={"scale": [1]}), "has 'scale'; {path} has the inputs data (1, 3, 64, 96)"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_layout_is_told_what_the_file_has(name: str, tmp_path: Path) -> None:
    keys, message = WRONG[name]
    path, *_ = network(tmp_path, "nanodet_plus")
    with pytest.raises(ValueError) as error:
        open_detector(path, written(tmp_path, **keys))
    told = str(error.value)
    assert message.format(path=path, layout=tmp_path / "layout.json") in told and "\n" not in told


def test_names_in_the_wrong_order_are_refused(tmp_path: Path) -> None:
    scores, sides = PER_STRIDE[:3], PER_STRIDE[3:]
    right = opened(tmp_path, "nanodet", base="nanodet", scores=list(scores), sides=list(sides))
    assert_same(right.find(picture(150, 70)), slowly(tmp_path, "nanodet", picture(150, 70)))
    with pytest.raises(ValueError, match="which is not one output per level in the order of the strides 8, 16, 32"):
        opened(tmp_path, "nanodet", base="nanodet", scores=list(scores[::-1]), sides=list(sides))


def test_a_file_without_layout_is_told_which_ones_fit(tmp_path: Path) -> None:
    path, *_ = network(tmp_path, "nanodet_plus-one-class")
    with pytest.raises(ValueError) as error:
        open_detector(path)
    told = str(error.value)
    assert told.startswith(
        f"{path} needs a layout: --layout with a file or one of nanodet, nanodet_plus, picodet, yolov8"
    )
    assert told.endswith("(its shapes fit nanodet, nanodet_plus, picodet). Its outputs are output (1, 128, 33)")


def test_decoded_yolo_files_are_recognized(tmp_path: Path) -> None:
    """(1, 4 + 80, locations): with the names of the classes in the metadata it is clear that boxes are decoded."""
    head = Head(SIZE, STRIDES, 80, 1)
    metadata = {"names": str({number: f"class {number}" for number in range(80)})}
    form = Form(channels_last=False, sides_first=True)
    path = random_network(tmp_path / "decoded.onnx", head, form, metadata=metadata)
    with pytest.raises(ValueError, match=r"Four channels are decoded boxes.* output_0 \(1, 84, 126\)"):
        open_detector(path, "yolov8")


def test_files_that_cannot_be_loaded(tmp_path: Path) -> None:
    (tmp_path / "bad.onnx").write_bytes(b"not an ONNX file")
    with pytest.raises(ValueError, match=r"ONNX Runtime \S+ cannot load .*bad.onnx: [^\n]*$"):
        open_detector(tmp_path / "bad.onnx", "nanodet_plus")
    with pytest.raises(FileNotFoundError, match="ONNX file not found"):
        open_detector(tmp_path / "none.onnx", "nanodet_plus")
    path, *_ = network(tmp_path, "nanodet_plus")
    with pytest.raises(FileNotFoundError, match="layout not found: nanodet-plus is neither a file nor one of"):
        open_detector(path, "nanodet-plus")
    (tmp_path / "layout.json").write_text("{")
    with pytest.raises(ValueError, match="layout.json is not a layout: JSONDecodeError"):
        open_detector(path, str(tmp_path / "layout.json"))


def test_probabilities_in_range_do_not_overrule_what_a_person_writes(tmp_path: Path) -> None:
    path, *_ = network(tmp_path, "nanodet_plus")
    (note,) = open_detector(path, written(tmp_path, base="yolov8", order="scores_first", bins=8)).notes
    assert note.startswith("The scores of the file lie between 0.") and note.endswith("taken as probabilities.")
    own = open_detector(path, written(tmp_path, base="nanodet_plus", scores_are="logits"))
    assert own.notes == () and own.find(picture(150, 70)).scores.min() >= 0.5


def test_the_page_describes_all_layouts_and_keys(root: Path, tmp_path: Path) -> None:
    text = (root / "docs" / "other-networks.md").read_text()
    rows = [line.split("|")[1] for line in text.splitlines() if line.startswith("| `")]
    named = {name for row in rows for name in re.findall(r"`(\w+)`", row)}
    assert named == {*KEYS, *shipped_layouts()}
    (block,) = re.findall(r"```json\n(.*?)```", text, re.DOTALL)
    settings = read_settings(written(tmp_path, **json.loads(block)))
    assert settings.own == {"classes", "resize"}
    head = Head(SIZE, (8, 16, 32, 64), 3, 11)
    detector = open_detector(random_network(tmp_path / "own.onnx", head, Form()), settings.name)
    assert len(detector.bins) == 11 and detector.classes == ("RBC", "WBC", "Platelets")
    shown = re.search(r"```text\n(.*)\n```", text)[1]
    head = Head((320, 320), (8, 16, 32, 64), 3, 8)
    assert open_detector(random_network(tmp_path / "shown.onnx", head, Form()), "nanodet_plus").about == shown
