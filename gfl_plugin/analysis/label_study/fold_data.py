"""Divides labelled images into folds, moves sides of annotations, and writes COCO files to train and judge with."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from torch.utils.data import Dataset

from ...runtime.atomic_files import write_whole
from .shifted_sides import Shift, ShiftLaw, shift_sides


@dataclass(frozen=True)
class LabelledImage:
    """An image with its annotations, as the data set gives them."""

    path: Path
    width: int  # pixels
    height: int
    boxes: np.ndarray  # (N, 4) x1, y1, x2, y2 in pixels
    labels: np.ndarray  # (N,) class indices


@dataclass(frozen=True)
class WrongLabel:
    """An annotation with a side that was moved."""

    image: str  # file name
    object: int  # index among the annotations of the image
    side: int  # index of left, top, right, bottom
    original: float  # coordinate before, in pixels
    shifted: float  # coordinate after


@dataclass(frozen=True)
class FoldFiles:
    """The data of one fold."""

    train: Path  # COCO file with the images of the other folds
    held_out: Path  # COCO file with the images of this fold, which its detector judges


def read_images(dataset: Dataset) -> tuple[LabelledImage, ...]:
    """Read all images with annotations.

    Args:
        dataset: of MMDetection.

    Returns:
        The images with their annotations that are not ignored and at least 1 px wide and high, which MMDetection also
        reads from a COCO file.
    """
    images = (_labelled_image(dataset.get_data_info(index)) for index in range(len(dataset)))
    return tuple(image for image in images if len(image.labels))


def _labelled_image(info: Mapping) -> LabelledImage:
    found = [one for one in info["instances"] if not one.get("ignore_flag")]
    boxes = np.array([one["bbox"] for one in found], np.float64).reshape(-1, 4)
    labels = np.array([one["bbox_label"] for one in found], np.int64)
    valid = (boxes[:, 2:] - boxes[:, :2] >= 1).all(axis=1)
    return LabelledImage(Path(info["img_path"]), info["width"], info["height"], boxes[valid], labels[valid])


def wrong_labels(images: Sequence[LabelledImage], law: ShiftLaw, seed: int) -> tuple[WrongLabel, ...]:
    """Choose annotations of all images, and a side of each that is moved.

    Args:
        images: the images.
        law: of the shifts.
        seed: of the choice.

    Returns:
        The wrong labels.
    """
    boxes = np.concatenate([image.boxes for image in images])
    sizes = np.concatenate([np.tile([image.width, image.height], (len(image.boxes), 1)) for image in images])
    places = [(image.path.name, number) for image in images for number in range(len(image.boxes))]
    return tuple(_named(one, places) for one in shift_sides(boxes, sizes, law, np.random.default_rng(seed)))


def _named(shift: Shift, places: Sequence[tuple[str, int]]) -> WrongLabel:
    return WrongLabel(*places[shift.box], shift.side, shift.original, shift.shifted)


def write_folds(
    images: Sequence[LabelledImage],
    wrong: Sequence[WrongLabel],
    classes: Sequence[str],
    folds: int,
    seed: int,
    folder: Path,
) -> tuple[FoldFiles, ...]:
    """Write the annotations of each fold, with the wrong labels in the place of the right ones.

    Args:
        images: the images; they are divided at random into folds of equal size.
        wrong: the wrong labels.
        classes: names of the classes.
        folds: number of folds, at least 2.
        seed: of the division.
        folder: of the files; it is created if it does not exist.

    Returns:
        The files of each fold.
    """
    folder.mkdir(parents=True, exist_ok=True)
    fold = np.random.default_rng(seed).permutation(len(images)) % folds
    files = []
    for number in range(folds):
        one = FoldFiles(folder / f"fold_{number}_train.json", folder / f"fold_{number}_held_out.json")
        for path, rows in ((one.train, fold != number), (one.held_out, fold == number)):
            content = _coco([images[row] for row in np.flatnonzero(rows)], wrong, classes)
            write_whole(path, json.dumps(content) + "\n")
        files.append(one)
    return tuple(files)


def _coco(images: Sequence[LabelledImage], wrong: Sequence[WrongLabel], classes: Sequence[str]) -> dict:
    by_place = {(one.image, one.object): one for one in wrong}
    entries, annotations = [], []
    for number, image in enumerate(images, 1):
        entries.append({"id": number, "file_name": image.path.name, "width": image.width, "height": image.height})
        for place, (box, label) in enumerate(zip(image.boxes, image.labels)):
            x1, y1, x2, y2 = _moved(box, by_place.get((image.path.name, place)))
            annotation = {"id": len(annotations) + 1, "image_id": number, "category_id": int(label) + 1}
            shape = {"bbox": [x1, y1, x2 - x1, y2 - y1], "area": (x2 - x1) * (y2 - y1), "iscrowd": 0}
            annotations.append({**annotation, **shape})
    categories = [{"id": number, "name": name} for number, name in enumerate(classes, 1)]
    return {"images": entries, "annotations": annotations, "categories": categories}


def _moved(box: np.ndarray, wrong: WrongLabel | None) -> list[float]:
    moved = [float(value) for value in box]
    if wrong is not None:
        moved[wrong.side] = wrong.shifted
    return moved
