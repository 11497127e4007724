"""The same labelled images in each form that ``gfl-plugin init`` reads."""

from __future__ import annotations

import csv
import json
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from xml.sax.saxutils import escape

import numpy as np
from PIL import Image

CLASSES = ("cat", "dog")
SIZE = (96, 64)  # width and height, pixels
TRUTHS = dict[str, list[tuple[str, int, int, int, int]]]  # by the stem of the image: class, x1, y1, x2, y2


@dataclass(frozen=True)
class Split:
    """Images of one split, and the folder name that says so."""

    folder: str
    truths: TRUTHS


def truths(count: int, seed: int = 0, prefix: str = "image") -> TRUTHS:
    """Random objects; each class occurs if there are two images or more."""
    chance = random.Random(seed)
    made: TRUTHS = {}
    for number in range(count):
        boxes = []
        for object_number in range(2):
            x, y = chance.randint(0, 40), chance.randint(0, 20)
            name = CLASSES[(number + object_number) % 2]
            boxes.append((name, x, y, x + chance.randint(20, 50), y + chance.randint(15, 40)))
        made[f"{prefix}_{number:02}"] = boxes
    return made


def write_images(folder: Path, named: TRUTHS, suffix: str = ".jpg") -> None:
    """Write an image of noise per name."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in named:
        pixels = np.random.default_rng(list(name.encode())).integers(0, 255, (SIZE[1], SIZE[0], 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{name}{suffix}")


def write_coco(root: Path, split: Split) -> None:
    """``FOLDER/`` with images, ``annotations/instances_FOLDER.json``."""
    write_images(root / split.folder, split.truths)
    images, annotations = [], []
    for number, (name, boxes) in enumerate(split.truths.items(), 1):
        images.append(dict(id=number, file_name=f"{name}.jpg", width=SIZE[0], height=SIZE[1]))
        for kind, x1, y1, x2, y2 in boxes:
            box = [x1, y1, x2 - x1, y2 - y1]
            entry = dict(image_id=number, category_id=CLASSES.index(kind) + 1, bbox=box, area=box[2] * box[3])
            annotations.append(dict(entry, id=len(annotations) + 1, iscrowd=0))
    categories = [dict(id=number, name=name) for number, name in enumerate(CLASSES, 1)]
    (root / "annotations").mkdir(exist_ok=True)
    content = dict(images=images, annotations=annotations, categories=categories)
    (root / "annotations" / f"instances_{split.folder}.json").write_text(json.dumps(content))


def voc_text(name: str, boxes: list[tuple[str, int, int, int, int]]) -> str:
    """The XML of an image."""
    sides = ("xmin", "ymin", "xmax", "ymax")
    objects = "".join(
        f"<object><name>{escape(kind)}</name><bndbox>"
        + "".join(f"<{side}>{value}</{side}>" for side, value in zip(sides, box))
        + "</bndbox></object>"
        for kind, *box in boxes
    )
    size = f"<size><width>{SIZE[0]}</width><height>{SIZE[1]}</height><depth>3</depth></size>"
    return f"<annotation><filename>{name}.jpg</filename>{size}{objects}</annotation>"


def write_voc(root: Path, split: Split) -> None:
    """``JPEGImages``, ``Annotations`` and ``ImageSets/Main/FOLDER.txt``."""
    write_images(root / "JPEGImages", split.truths)
    for folder in ("Annotations", "ImageSets/Main"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    for name, boxes in split.truths.items():
        (root / "Annotations" / f"{name}.xml").write_text(voc_text(name, boxes))
    (root / "ImageSets" / "Main" / f"{split.folder}.txt").write_text("".join(f"{name}\n" for name in split.truths))


def write_yolo(root: Path, split: Split) -> None:
    """``images/FOLDER``, ``labels/FOLDER`` and ``data.yaml`` with the splits so far."""
    write_images(root / "images" / split.folder, split.truths)
    labels = root / "labels" / split.folder
    labels.mkdir(parents=True)
    for name, boxes in split.truths.items():
        (labels / f"{name}.txt").write_text("".join(yolo_line(*box) for box in boxes))
    known = [one.name for one in sorted((root / "images").iterdir())]
    lines = [f"path: ../datasets/{root.name}", *(f"{name}: images/{name}" for name in known), f"nc: {len(CLASSES)}"]
    (root / "data.yaml").write_text("\n".join([*lines, f"names: {list(CLASSES)}", ""]))


def yolo_line(kind: str, x1: float, y1: float, x2: float, y2: float) -> str:
    """A box as parts of the size of the image."""
    values = ((x1 + x2) / 2 / SIZE[0], (y1 + y2) / 2 / SIZE[1], (x2 - x1) / SIZE[0], (y2 - y1) / SIZE[1])
    return " ".join([str(CLASSES.index(kind)), *(f"{value:.8f}" for value in values)]) + "\n"


def write_labelme(root: Path, split: Split) -> None:
    """``FOLDER/`` with images and one JSON file each."""
    write_images(root / split.folder, split.truths)
    for name, boxes in split.truths.items():
        shapes = [
            dict(label=kind, points=[[x2, y1], [x1, y2]], shape_type="rectangle") for kind, x1, y1, x2, y2 in boxes
        ]
        content = dict(imagePath=f"{name}.jpg", imageWidth=SIZE[0], imageHeight=SIZE[1], shapes=shapes)
        (root / split.folder / f"{name}.json").write_text(json.dumps(content))


def write_csv(root: Path, split: Split) -> None:
    """``FOLDER/`` with images, and ``FOLDER.csv``."""
    write_images(root / split.folder, split.truths)
    with open(root / f"{split.folder}.csv", "w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["filename", "width", "height", "class", "xmin", "ymin", "xmax", "ymax"])
        for name, boxes in split.truths.items():
            table.writerows([f"{name}.jpg", *SIZE, *box] for box in boxes)


WRITERS: Mapping[str, Callable[[Path, Split], None]] = {
    "coco": write_coco,
    "voc": write_voc,
    "yolo": write_yolo,
    "labelme": write_labelme,
    "csv": write_csv,
}


def write_folder(root: Path, form: str, *splits: Split) -> Path:
    """Write splits in a form; "train" with ten images and "val" with four by default."""
    root.mkdir(parents=True, exist_ok=True)
    default = (Split("train", truths(10)), Split("val", truths(4, seed=1, prefix="other")))
    for split in splits or default:
        WRITERS[form](root, split)
    return root
