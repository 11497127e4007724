#!/usr/bin/env python3
"""Detects objects in images with a model.onnx of gfl_plugin. It needs Python, NumPy, Pillow and ONNX Runtime alone.

On the command line, it writes results.json and pictures with the boxes to a folder:

    python detect.py photo.jpg folder_of_images/ -o found/

In a program:

    from detect import Detector, read_image

    detector = Detector("model.onnx")
    found = detector(read_image("photo.jpg"))
    found.boxes, found.scores, [detector.classes[label] for label in found.labels]
"""

from __future__ import annotations

import argparse
import colorsys
import json
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnxruntime
from PIL import Image, ImageDraw, ImageFont, ImageOps

KEY = "gfl_plugin"  # of the metadata that describes the model
FORMAT = 1  # newest form of these metadata that this file reads
SUFFIXES = (".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")  # of images in folders
# What is used of the description of the model: gfl_plugin/export/model_description.py.
_USED = (
    *("contract", "model", "classes", "input", "strides", "offset", "bins", "score_threshold", "topk"),
    *("iou_threshold", "class_agnostic", "max_per_image", "min_box_size", "weights_hash", "version"),
)
INTERVAL = 5.0  # seconds between two lines of progress where the output is not a terminal


class DetectError(ValueError):
    """Something that the user can repair; the message is one line."""


# -----------------------------------------------------------------------------------------------------------------
# The model
# -----------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Detections:
    """Objects in one image, the best first."""

    boxes: np.ndarray  # (N, 4) float32 x1, y1, x2, y2 in pixels of the image
    scores: np.ndarray  # (N,) float32 in [0, 1]
    labels: np.ndarray  # (N,) int64 index of the class
    std: np.ndarray | None = None  # (N, 4) float32 standard deviations of left, top, right, bottom in pixels

    def __len__(self) -> int:
        return len(self.scores)

    def rows(self, index: np.ndarray | slice) -> Detections:
        """Some of the detections.

        Args:
            index: (M,) row numbers, an (N,) mask, or a slice.

        Returns:
            Those detections.
        """
        std = None if self.std is None else self.std[index]
        return Detections(self.boxes[index], self.scores[index], self.labels[index], std)

    def scaled(self, scale: Sequence[float]) -> Detections:
        """The detections in pixels of the original image.

        Args:
            scale: pixels of the resized image per pixel of the original one, along x and y.

        Returns:
            The detections.
        """
        factor = np.array([1 / scale[0], 1 / scale[1]] * 2, np.float32)
        std = None if self.std is None else self.std * factor
        return Detections(self.boxes * factor, self.scores, self.labels, std)


class Detector:
    """A model that finds objects in images.

    Args:
        path: the file model.onnx.
        threads: CPU threads; 0 for as many as ONNX Runtime chooses.
        provider: execution provider of ONNX Runtime.

    Raises:
        DetectError: if the file does not exist, is not a model of gfl_plugin, or needs a newer program.
    """

    def __init__(self, path: str | Path, threads: int = 0, provider: str = "CPUExecutionProvider") -> None:
        self.session = _session(Path(path), threads, provider)
        self.about = _description(self.session, Path(path))
        self.classes: tuple[str, ...] = tuple(self.about.classes)

    def __call__(self, image: np.ndarray, score: float = 0.0) -> Detections:
        """Find the objects in an image.

        Args:
            image: (H, W, 3) uint8, red, green, blue.
            score: detections with a lower score are left out. The threshold in the file applies in any case.

        Returns:
            The detections.
        """
        inputs, scale = self.prepare(image)
        return self.finish(self.run(inputs), inputs["sizes"], [scale], score)[0]

    def prepare(self, image: np.ndarray) -> tuple[dict[str, np.ndarray], tuple[float, float]]:
        """Make the inputs of the network.

        Args:
            image: (H, W, 3) uint8, red, green, blue.

        Returns:
            The inputs by name, for a batch of one image: ``images``, and ``sizes``, the height and width of the part
            that is not padding; and the pixels of the resized image per pixel of this one, along x and y.
        """
        own = self.about.input
        height, width = image.shape[:2]
        size = (width, height) if own.size is None else resized_size((width, height), own.size, own.keep_ratio)
        if own.preprocessing != "resize":  # which happens in the file
            image = resize(image, size)
        inputs = {"images": (_normalized(image, own) if own.preprocessing == "none" else image)[None]}
        inputs["sizes"] = np.array([[size[1], size[0]]], np.int64)
        returned = own.preprocessing == "resize" and self.about.contract != "raw"  # the file scales the boxes back
        return inputs, (1.0, 1.0) if returned else (size[0] / width, size[1] / height)

    def run(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Run the network.

        Args:
            inputs: by name, for a batch of images; those that the file does not have are ignored.

        Returns:
            The outputs by name.
        """
        names = [output.name for output in self.session.get_outputs()]
        wanted = {one.name: inputs[one.name] for one in self.session.get_inputs()}
        return dict(zip(names, self.session.run(names, wanted)))

    def finish(
        self,
        outputs: Mapping[str, np.ndarray],
        sizes: np.ndarray,
        scales: Sequence[Sequence[float]],
        score: float = 0.0,
    ) -> list[Detections]:
        """Make detections from the outputs of the network.

        Args:
            outputs: by name, for a batch of images.
            sizes: (B, 2) of the inputs.
            scales: of each image, pixels of the resized image per pixel of the original one, along x and y.
            score: detections with a lower score are left out.

        Returns:
            The detections of each image, in pixels of the original image.
        """
        if self.about.contract == "raw":
            found = [_decoded(outputs, number, size, self.about) for number, size in enumerate(sizes)]
        elif self.about.contract == "boxes":
            found = [_selected(outputs, number, self.about.score_threshold) for number in range(len(sizes))]
        else:
            found = [_of_image(outputs, number) for number in range(len(sizes))]
        return [self._kept(own, scale, score) for own, scale in zip(found, scales)]

    def _kept(self, found: Detections, scale: Sequence[float], score: float) -> Detections:
        """Detections without too small boxes, without those that overlap a better one, and without low scores."""
        if tuple(scale) != (1.0, 1.0):
            found = found.scaled(scale)
        if self.about.min_box_size >= 0:
            found = found.rows((found.boxes[:, 2:] - found.boxes[:, :2] > self.about.min_box_size).all(axis=1))
        if self.about.contract != "nms":
            found = found.rows(
                nms(found, self.about.iou_threshold, self.about.class_agnostic, self.about.max_per_image)
            )
        return found.rows(found.scores >= score)


def _session(path: Path, threads: int, provider: str) -> onnxruntime.InferenceSession:
    if not path.is_file():
        raise DetectError(f"model not found: {path}")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3  # errors only
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=[provider])
    except Exception as error:  # ONNX Runtime has a class of its own for each status, without a common base
        why = (
            f"ONNX Runtime says: {_one_line(error).split('failed:')[-1].split('&) ')[-1]}"  # after places in its source
        )
        version = onnxruntime.__version__
        needed = _versions(path)
        if needed is None:
            raise DetectError(f"{path} is not an ONNX file, or is damaged; {why}") from error
        raise DetectError(
            f"ONNX Runtime {version} cannot load {path}, which has opset {needed[1]} and IR version {needed[0]}; if "
            f"they are too new, run: pip install --upgrade onnxruntime; {why}"
        ) from error


def _description(session: onnxruntime.InferenceSession, path: Path) -> SimpleNamespace:
    """What the file says about itself."""
    text = session.get_modelmeta().custom_metadata_map.get(KEY)
    if text is None:
        raise DetectError(f"{path} is not a model of `gfl-plugin export`: it has no metadata {KEY!r}")
    try:
        about = json.loads(text, object_hook=lambda values: SimpleNamespace(**values))
        newer = about.format > FORMAT
        missing = [] if newer else [name for name in _USED if not hasattr(about, name)]
    except (AttributeError, TypeError, ValueError) as error:
        raise DetectError(f"the metadata {KEY!r} of {path} are damaged: {_one_line(error)}") from error
    if newer:
        raise DetectError(
            f"{path} has format {about.format} of gfl_plugin {about.version}, this detect.py reads formats up to "
            f"{FORMAT}: use the detect.py that was written with the model"
        )
    if missing:
        raise DetectError(f"the metadata {KEY!r} of {path} are damaged: they lack {', '.join(missing)}")
    if about.contract == "raw" and about.bins is None:
        raise DetectError(
            f"{path} has outputs of contract 'raw' whose sides are not distributions over bins, which detect.py does "
            "not decode: export with contract 'boxes' or 'nms'"
        )
    return about


def _versions(path: Path) -> tuple[int, int] | None:
    """IR version and opset of an ONNX file, which no ONNX Runtime needs to load for that; None for other files."""
    try:
        fields = list(_protobuf(path.read_bytes()))
        imports = [dict(_protobuf(value)) for number, value in fields if number == 8]  # (1: domain, 2: version)
        opsets = [one[2] for one in imports if one.get(1, b"") in (b"", b"ai.onnx")]
        return int(dict(fields)[1]), int(opsets[0])
    except (IndexError, KeyError, TypeError, ValueError):
        return None


def _protobuf(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Numbers and values of the fields of a message in the format of Protocol Buffers."""
    place = 0

    def varint() -> int:
        nonlocal place
        value = shift = 0
        while True:
            byte = data[place]
            place, value, shift = place + 1, value | (byte & 127) << shift, shift + 7
            if byte < 128:
                return value

    while place < len(data):
        number, kind = divmod(varint(), 8)
        value = varint()
        if kind == 2:  # bytes, after their number
            value, place = data[place : place + value], place + value
        elif kind != 0:
            raise ValueError("a field that the head of an ONNX file does not have")
        yield number, value


# -----------------------------------------------------------------------------------------------------------------
# From the network's outputs to boxes
# -----------------------------------------------------------------------------------------------------------------


def _selected(outputs: Mapping[str, np.ndarray], number: int, threshold: float) -> Detections:
    """Detections of an image above the threshold, contract "boxes"."""
    scores = outputs["scores"][number]
    keep = scores > np.float32(threshold)
    std = outputs["std"][number][keep] if "std" in outputs else None
    return Detections(outputs["boxes"][number][keep], scores[keep], outputs["labels"][number][keep], std)


def _of_image(outputs: Mapping[str, np.ndarray], number: int) -> Detections:
    """Detections of an image, contract "nms"."""
    std = outputs.get("std")
    return Detections(outputs["boxes"], outputs["scores"], outputs["labels"], std).rows(outputs["image"] == number)


def _decoded(outputs: Mapping[str, np.ndarray], number: int, size: Sequence[int], about: SimpleNamespace) -> Detections:
    """Detections of an image above the threshold from the maps of all levels, contract "raw"."""
    levels = []
    for level, stride in enumerate(about.strides):
        logits = outputs[f"scores_{level}"][number]  # (C, H, W)
        labels, places, scores = _best(logits.reshape(len(logits), -1), about.score_threshold, about.topk)
        if f"quality_{level}" in outputs:
            scores = scores * _sigmoid(outputs[f"quality_{level}"][number].reshape(-1)[places])
        sides = outputs[f"sides_{level}"][number]  # (4 * bins, H, W)
        distances, std = _distances(sides.reshape(len(sides), -1)[:, places].T, about.bins)
        rows, columns = np.divmod(places, logits.shape[2])
        centers = (np.stack([columns, rows], axis=1).astype(np.float32) + np.float32(about.offset)) * stride
        boxes = np.concatenate([centers - distances[:, :2] * stride, centers + distances[:, 2:] * stride], axis=1)
        levels.append((boxes, scores, labels, std * stride))
    boxes, scores, labels, std = (np.concatenate(parts) for parts in zip(*levels))
    boxes = np.clip(boxes, 0, np.array([size[1], size[0]] * 2)).astype(np.float32)
    return Detections(boxes, scores, labels, std.astype(np.float32))


def _best(logits: np.ndarray, threshold: float, limit: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The best scores of a level above a threshold: (C, H * W) logits -> labels, places and scores, (N,) each."""
    scores = _sigmoid(logits)
    labels, places = np.nonzero(scores > np.float32(threshold))
    scores = scores[labels, places]
    order = np.argsort(-scores, kind="stable")[: limit if limit > 0 else None]
    return labels[order], places[order], scores[order]


def _sigmoid(values: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):  # the result is 0 there, as it should be
        return 1 / (1 + np.exp(-values))


def _distances(logits: np.ndarray, bins: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
    """(N, 4 * bins) logits -> (N, 4) means and standard deviations of left, top, right, bottom in strides."""
    values = np.array(bins, np.float32)
    logits = logits.reshape(-1, 4, len(values))
    probability = np.exp(logits - logits.max(axis=2, keepdims=True))
    probability /= probability.sum(axis=2, keepdims=True)
    mean = probability @ values
    variance = (probability * (values - mean[..., None]) ** 2).sum(axis=2)
    return mean, np.sqrt(variance)


def nms(found: Detections, iou_threshold: float, class_agnostic: bool, limit: int) -> np.ndarray:
    """Non-maximum suppression with the arithmetic of mmcv's ``batched_nms``.

    Args:
        found: the detections in any order.
        iou_threshold: boxes with a higher IoU with a better box are left out.
        class_agnostic: whether boxes of different classes suppress each other.
        limit: most detections that are kept.

    Returns:
        (M,) row numbers of the kept detections, the best first.
    """
    if not len(found):
        return np.zeros(0, np.int64)
    boxes = found.boxes
    if not class_agnostic:  # classes are moved apart; the rounding of these sums decides overlaps near the threshold
        boxes = boxes + (found.labels.astype(np.float32) * (boxes.max() + np.float32(1)))[:, None]
    order = np.argsort(-found.scores, kind="stable")
    low, high = boxes[order, :2], boxes[order, 2:]
    areas = (high - low).prod(axis=1)
    rest, kept = np.arange(len(order)), []
    while len(rest) and len(kept) < limit:
        best, rest = rest[0], rest[1:]
        kept.append(best)
        sides = np.minimum(high[best], high[rest]) - np.maximum(low[best], low[rest])
        shared = np.maximum(sides, 0).prod(axis=1)
        with np.errstate(invalid="ignore", divide="ignore"):  # boxes without area have no IoU
            rest = rest[~(shared / (areas[best] + areas[rest] - shared) > np.float32(iou_threshold))]
    return order[kept]


# -----------------------------------------------------------------------------------------------------------------
# Images
# -----------------------------------------------------------------------------------------------------------------


def read_image(path: str | Path) -> np.ndarray:
    """Read an image file.

    Args:
        path: of the file.

    Returns:
        (H, W, 3) uint8, red, green, blue, turned as its EXIF data say. Transparency is ignored, and the lower half of
        16 bits is cut off, as OpenCV does.

    Raises:
        OSError: if the file is missing, damaged, or not an image.
    """
    with Image.open(path) as file:
        image = ImageOps.exif_transpose(file)
        if image.mode[0] in "IF":  # gray levels with more than 8 bits, which Pillow's convert would only cut at 255
            values = np.asarray(image)
            values = values if image.mode == "F" else values.clip(0, 65535) // 256
            return np.repeat(values.clip(0, 255).astype(np.uint8)[:, :, None], 3, axis=2)
        return np.array(image.convert("RGB"))


def resized_size(size: tuple[int, int], limits: Sequence[int], keep_ratio: bool) -> tuple[int, int]:
    """The size of a resized image, as MMDetection computes it.

    Args:
        size: width and height of the image.
        limits: width and height that it shall have.
        keep_ratio: whether to keep the ratio of width and height; the image then fits into the limits, whose longer
            one holds for the longer side.

    Returns:
        Width and height.
    """
    if not keep_ratio:
        return int(limits[0]), int(limits[1])
    scale = min(max(limits) / max(size), min(limits) / min(size))
    return int(size[0] * scale + 0.5), int(size[1] * scale + 0.5)


def resize(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resize an image as ``cv2.resize(..., interpolation=cv2.INTER_LINEAR)`` does, to the last bit.

    Args:
        image: (H, W, 3) uint8.
        size: new width and height.

    Returns:
        (height, width, 3) uint8.
    """
    (height, width), (new_width, new_height) = image.shape[:2], size
    if (width, height) == (new_width, new_height):
        return image
    if (width, height) == (2 * new_width, 2 * new_height):  # OpenCV takes the mean of 2 x 2 pixels
        quarters = image.reshape(new_height, 2, new_width, 2, 3).astype(np.uint16)
        return ((quarters.sum(axis=(1, 3), dtype=np.uint16) + 2) >> 2).astype(np.uint8)
    left, right, left_weight, right_weight = _neighbors(width, new_width)
    above, below, above_weight, below_weight = _neighbors(height, new_height)
    needed = np.union1d(above, below)  # rows; a much smaller image does not need all of them
    across = _blend_columns(image[needed].reshape(len(needed), -1), left, right, left_weight, right_weight)
    above, below = np.searchsorted(needed, above), np.searchsorted(needed, below)
    result = np.empty((new_height, new_width * 3), np.uint8)
    for start in range(0, new_height, 16):  # small parts stay in the processor's cache
        rows = slice(start, start + 16)
        upper = across[above[rows]] * above_weight[rows, None] >> 16
        upper += across[below[rows]] * below_weight[rows, None] >> 16
        result[rows] = upper + 2 >> 2
    return result.reshape(new_height, new_width, 3)


def _neighbors(old: int, new: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Places (new,) of the two pixels that a new one lies between, and their weights in units of 1/2048."""
    position = ((np.arange(new) + 0.5) * (1 / (new / old)) - 0.5).astype(np.float32)
    first = np.floor(position).astype(np.int64)
    part = position - first.astype(np.float32)
    weights = (np.rint(one * 2048).astype(np.int32) for one in (1 - part, part))
    return (first.clip(0, old - 1), (first + 1).clip(0, old - 1), *weights)


def _blend_columns(
    pixels: np.ndarray, left: np.ndarray, right: np.ndarray, left_weight: np.ndarray, right_weight: np.ndarray
) -> np.ndarray:
    """(H, W * 3) uint8 -> (H, new * 3) int16, 128 times the gray levels."""
    channels = np.arange(3)
    left, right = ((3 * one[:, None] + channels).ravel() for one in (left, right))
    left_weight, right_weight = np.repeat(left_weight, 3), np.repeat(right_weight, 3)
    result = np.empty((len(pixels), len(left)), np.int16)
    for start in range(0, len(pixels), 16):
        part = pixels[start : start + 16]
        sums = part.take(left, axis=1) * left_weight
        sums += part.take(right, axis=1) * right_weight
        result[start : start + 16] = sums >> 4
    return result


def _normalized(image: np.ndarray, settings: SimpleNamespace) -> np.ndarray:
    """(H, W, 3) uint8 RGB -> (3, H', W') float32, normalized, and padded at the right and bottom."""
    pixels = image if settings.channels == "rgb" else image[:, :, ::-1]
    height, width = (-(-side // settings.pad_divisor) * settings.pad_divisor for side in image.shape[:2])
    padded = np.full((3, height, width), settings.pad_value, np.float32)
    for channel, (mean, std) in enumerate(zip(settings.mean, settings.std)):
        part = padded[channel, : image.shape[0], : image.shape[1]]
        np.subtract(pixels[:, :, channel], np.float32(mean), out=part)
        part /= np.float32(std)
    return padded


# -----------------------------------------------------------------------------------------------------------------
# Pictures and files
# -----------------------------------------------------------------------------------------------------------------


def draw(image: np.ndarray, found: Detections, classes: Sequence[str]) -> Image.Image:
    """Draw detections into an image.

    Args:
        image: (H, W, 3) uint8, red, green, blue.
        found: the detections.
        classes: names of the classes.

    Returns:
        The picture. Where sides have a standard deviation, a translucent band covers 1 of it on either side.
    """
    picture = Image.fromarray(image).convert("RGBA")
    colors = [_color(int(label)) for label in found.labels]
    if found.std is not None:
        bands = Image.new("RGBA", picture.size)
        pen = ImageDraw.Draw(bands)
        for box, std, color in zip(found.boxes, found.std, colors):
            for strip in _strips(box, std):
                pen.rectangle(strip, fill=(*color, 90))
        picture.alpha_composite(bands)
    pen = ImageDraw.Draw(picture)
    font = _font(max(11, round(min(picture.size) / 40)))
    for box, color in zip(found.boxes, colors):
        left, top, right, bottom = box.tolist()
        pen.rectangle((left, top, max(left, right), max(top, bottom)), outline=color, width=_line(picture.size))
    for box, score, label, color in zip(found.boxes, found.scores, found.labels, colors):
        text = f"{classes[label]} {score:.2f}"
        place = (float(box[0]), max(0.0, float(box[1]) - font.getbbox(text)[3] - 2))
        pen.rectangle(pen.textbbox(place, text, font=font), fill=color)
        pen.text(place, text, fill="white", font=font)
    return picture.convert("RGB")


def _strips(box: np.ndarray, std: np.ndarray) -> list[tuple[float, float, float, float]]:
    """The area between the boxes that are 1 standard deviation larger and smaller at each side, as rectangles."""
    left, top, right, bottom = (box + std * [-1, -1, 1, 1]).tolist()
    inner_left, inner_top, inner_right, inner_bottom = (box + std * [1, 1, -1, -1]).tolist()
    if inner_left >= inner_right or inner_top >= inner_bottom:
        return [(left, top, max(left, right), max(top, bottom))]
    return [
        (left, top, inner_left, bottom),
        (inner_right, top, right, bottom),
        (left, top, right, inner_top),
        (left, inner_bottom, right, bottom),
    ]


def _line(size: tuple[int, int]) -> int:
    """Width of lines in a picture, pixels."""
    return max(1, round(min(size) / 300))


def _color(label: int) -> tuple[int, int, int]:
    """A dark color; colors of successive classes differ by the golden angle."""
    return tuple(round(255 * part) for part in colorsys.hsv_to_rgb(label * 0.618034 % 1, 0.9, 0.75))


def _font(size: int) -> ImageFont.ImageFont | ImageFont.FreeTypeFont:
    try:
        return ImageFont.load_default(size)
    except TypeError:  # Pillow before 10.1 has one size
        return ImageFont.load_default()


def as_json(found: Detections, classes: Sequence[str]) -> list[dict]:
    """Detections in the form of results.json.

    Args:
        found: the detections.
        classes: names of the classes.

    Returns:
        For each detection ``class``, ``score``, ``box`` and, where the model has it, ``std``.
    """
    entries = []
    for row in range(len(found)):
        entry = {"class": classes[found.labels[row]], "score": round(float(found.scores[row]), 5)}
        entry["box"] = [round(float(side), 3) for side in found.boxes[row]]
        if found.std is not None:
            entry["std"] = [round(float(side), 3) for side in found.std[row]]
        entries.append(entry)
    return entries


def find_images(names: Sequence[Path], out: Path) -> list[Path]:
    """The image files that a user means.

    Args:
        names: files, and folders, which are searched with their subfolders.
        out: folder of the results; the pictures in it are not images to look at.

    Returns:
        The files, each once.

    Raises:
        DetectError: if a name does not exist, or there is no image.
    """
    files = []
    for name in names:
        if name.is_dir():
            inside = sorted(path for path in name.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())
            files.extend(path for path in inside if out.resolve() not in path.resolve().parents)
        elif name.is_file():
            files.append(name)
        else:
            raise DetectError(f"file not found: {name}")
    if not files:
        raise DetectError(f"no image ({', '.join(SUFFIXES)}) found in {', '.join(map(str, names))}")
    return list(dict.fromkeys(files))


def picture_names(files: Sequence[Path]) -> list[str]:
    """A name of its own for the picture of each image.

    Args:
        files: the images.

    Returns:
        NAME.jpg; NAME_2.jpg for the second image of the same name.
    """
    names: list[str] = []
    taken: set[str] = set()
    for file in files:
        name, number = f"{file.stem}.jpg", 1
        while name.lower() in taken:  # some file systems do not distinguish capitals
            number += 1
            name = f"{file.stem}_{number}.jpg"
        taken.add(name.lower())
        names.append(name)
    return names


def with_progress(items: Sequence) -> Iterator:
    """Go through items and show on standard error how many are done: on one line in a terminal, otherwise at times.

    Args:
        items: any.

    Yields:
        The items.
    """
    live = sys.stderr.isatty()
    started = shown = time.monotonic()
    for number, item in enumerate(items, 1):
        yield item
        now = time.monotonic()
        if now - shown >= (0.2 if live else INTERVAL) or (live and number == len(items)):
            shown = now
            text = f"{number} of {len(items)} images, {number / (now - started):.1f} images/s"
            print(f"\r{text}" if live else text, end="" if live else "\n", file=sys.stderr, flush=True)
    if live:
        print(file=sys.stderr)


def _one_line(error: BaseException) -> str:
    lines = str(error).splitlines()
    return lines[0][:500] if lines else type(error).__name__


def _arguments(words: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="Detect objects in images. Writes OUT/results.json and pictures in OUT/pictures/.",
        epilog="example: python detect.py photo.jpg folder/ -o found/",
    )
    parser.add_argument("images", nargs="+", type=Path, metavar="IMAGE_OR_FOLDER")
    parser.add_argument("-o", "--out", type=Path, default=Path("detections"), help="folder (default: detections)")
    parser.add_argument(
        "--model",
        type=Path,
        default=Path(__file__).with_name("model.onnx"),
        help="the exported file (default: model.onnx beside this program)",
    )
    parser.add_argument("--score", type=float, default=0.3, help="lowest score of a detection (default: 0.3)")
    parser.add_argument("--no-pictures", action="store_true", help="write results.json only")
    parser.add_argument("--threads", type=int, default=0, help="CPU threads (default: ONNX Runtime's choice)")
    parser.add_argument(
        "--provider",
        default="CPUExecutionProvider",
        choices=onnxruntime.get_available_providers(),
        help="execution provider of ONNX Runtime (default: CPUExecutionProvider)",
    )
    return parser.parse_args(words)


def _detect_files(detector: Detector, files: Sequence[Path], arguments: argparse.Namespace) -> tuple[list, list]:
    """Entries of results.json for the images, and for those that could not be read."""
    images, failed = [], []
    for file, picture in with_progress(list(zip(files, picture_names(files)))):
        try:
            image = read_image(file)
        except Exception as error:  # damaged files raise many kinds, each format its own
            print(f"{file}: cannot be read: {_one_line(error)}", file=sys.stderr)
            failed.append({"file": str(file), "error": _one_line(error)})
            continue
        found = detector(image, arguments.score)
        if not arguments.no_pictures:
            draw(image, found, detector.classes).save(arguments.out / "pictures" / picture, quality=92)
        height, width = image.shape[:2]
        images.append(
            {"file": str(file), "width": width, "height": height, "detections": as_json(found, detector.classes)}
        )
    return images, failed


def main(words: Sequence[str] | None = None) -> int:
    """Run the program.

    Args:
        words: of the command line; None for those of this process.

    Returns:
        Exit status: 0; 1 if an image could not be read, or for another error.
    """
    arguments = _arguments(words)
    try:
        files = find_images(arguments.images, arguments.out)
        detector = Detector(arguments.model, arguments.threads, arguments.provider)
        (arguments.out if arguments.no_pictures else arguments.out / "pictures").mkdir(parents=True, exist_ok=True)
        images, failed = _detect_files(detector, files, arguments)
        results = {"model": detector.about.model, "weights_hash": detector.about.weights_hash}
        results.update(classes=detector.classes, score=arguments.score, images=images, failed=failed)
        path = arguments.out / "results.json"
        path.write_text(json.dumps(results, indent=1, ensure_ascii=False), encoding="utf-8")
    except (DetectError, OSError) as error:
        print(f"detect.py: error: {_one_line(error)}", file=sys.stderr)
        return 1
    count = sum(len(one["detections"]) for one in images)
    print(f"{count} objects in {len(images)} images: {path}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
