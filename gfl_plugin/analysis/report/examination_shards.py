"""Files of examined images: a run that was interrupted continues after the last one."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from ...metrics.matching import Boxes
from ...runtime.atomic_files import remove_parts, write_whole
from .examined_image import ExaminedImage, SideBeliefs

_BOXES = ("objects", "ignored", "detections")
# Probabilities in half precision: for 5,000 images with 100 detections and 17 bins they are 68 MB.
_SIDES = {"std": np.float32, "probabilities": np.float16, "origins": np.float32, "scales": np.float32}


def write_shard(folder: Path, images: Mapping[int, ExaminedImage]) -> None:
    """Write examined images.

    Args:
        folder: of the shards.
        images: at least one, by their numbers in the data set.

    Raises:
        OSError: if the file cannot be written.
    """
    content = io.BytesIO()
    np.savez(content, **_columns(images))
    write_whole(folder / f"images_{min(images):07d}.npz", content.getvalue())


def read_shards(folder: Path) -> dict[int, ExaminedImage]:
    """Read all examined images of a folder. Damaged files are removed, so that their images are examined again.

    Args:
        folder: of the shards.

    Returns:
        The images by their numbers in the data set.
    """
    remove_parts(folder)
    images = {}
    for path in sorted(folder.glob("images_*.npz")):
        try:
            with np.load(path) as columns:
                images.update(_images(dict(columns)))
        except (zipfile.BadZipFile, EOFError, KeyError, ValueError):
            path.unlink()
    return images


def as_stored(sides: SideBeliefs) -> SideBeliefs:
    """Round to the precision of the files, so that a run has the same values whether it was interrupted or not.

    Args:
        sides: of an image.

    Returns:
        The same in single and half precision.
    """
    values = {name: getattr(sides, name) for name in _SIDES}
    return SideBeliefs(**{name: None if one is None else one.astype(_SIDES[name]) for name, one in values.items()})


def _columns(images: Mapping[int, ExaminedImage]) -> dict[str, np.ndarray]:
    """The images as arrays: the boxes of all images in one array, beside their number per image."""
    numbers, every = [*images], [*images.values()]
    texts = json.dumps([[image.path, image.image_id] for image in every])
    columns = {
        "numbers": np.array(numbers, np.int64),
        "texts": np.array(texts),
        "sizes": np.array([(image.width, image.height) for image in every], np.int64),
        "scores": np.concatenate([image.scores for image in every]),
    }
    for name in _BOXES:
        boxes = [getattr(image, name) for image in every]
        columns[f"{name}_counts"] = np.array([len(one.labels) for one in boxes], np.int64)
        columns[f"{name}_boxes"] = np.concatenate([one.boxes for one in boxes])
        columns[f"{name}_labels"] = np.concatenate([one.labels for one in boxes])
    for name in _SIDES if every[0].sides is not None else ():
        if getattr(every[0].sides, name) is not None:
            columns[name] = np.concatenate([getattr(image.sides, name) for image in every])
    return columns


def _images(columns: Mapping[str, np.ndarray]) -> dict[int, ExaminedImage]:
    boxes = {}
    for name in _BOXES:
        ends = np.cumsum(columns[f"{name}_counts"])[:-1]
        parts = (np.split(columns[f"{name}_{what}"], ends) for what in ("boxes", "labels"))
        boxes[name] = [Boxes(*pair) for pair in zip(*parts)]
    ends = np.cumsum(columns["detections_counts"])[:-1]
    scores = np.split(columns["scores"], ends)
    sides = {name: np.split(columns[name], ends) for name in _SIDES if name in columns}
    return {
        int(number): ExaminedImage(
            path=path,
            image_id=image_id,
            width=int(width),
            height=int(height),
            scores=scores[row],
            sides=SideBeliefs(**{name: parts[row] for name, parts in sides.items()}) if sides else None,
            **{name: parts[row] for name, parts in boxes.items()},
        )
        for row, (number, (path, image_id), (width, height)) in enumerate(
            zip(columns["numbers"], json.loads(str(columns["texts"])), columns["sizes"])
        )
    }
