"""Labelled images for a model without a config: those of a file in COCO's format, or of the data loader of a config."""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mmdet.datasets import CocoDataset
from mmengine.config import Config, ConfigDict
from mmengine.registry import init_default_scope
from torch.utils.data import Dataset

from ...runtime.config_files import find_config
from ...runtime.errors import EmptyDatasetError
from ...runtime.terminal_text import escape_unprintable
from ..data_check.coco import read_coco
from ..labelled_images import labelled_loader

_SHOWN = 3  # broken entries that a message names


@dataclass(frozen=True)
class LabelledImages:
    """A data set with its classes."""

    name: str  # for messages
    dataset: Dataset  # of MMDetection
    classes: tuple[str, ...]  # (C,) names by the labels of the data set
    order: tuple[int, ...]  # (C,) labels in the order in which networks of other toolboxes have classes


def coco_images(annotations: Path, images: Path) -> LabelledImages:
    """Read the labels of a file in COCO's format.

    Args:
        annotations: the file.
        images: folder to which the names of the images belong.

    Returns:
        The images, with all categories of the file. Their order is that of the ids.

    Raises:
        FileNotFoundError: if the file or the folder does not exist.
        ValueError: if the file is not in COCO's format, or has broken or repeated entries.
        EmptyDatasetError: if it has no images.
    """
    if not annotations.is_file():
        raise FileNotFoundError(f"annotations not found: {annotations}")
    if not images.is_dir():
        raise FileNotFoundError(f"folder of images not found: {images}")
    content = read_coco(ConfigDict(), images, annotations)
    _refuse(annotations, [*content.broken, *(f"{one} occurs more than once" for one in content.duplicates)])
    if not content.images:
        raise EmptyDatasetError(f"{annotations} has no images")
    categories = json.loads(annotations.read_text(encoding="utf-8"))["categories"]
    names = [one["name"] for one in categories]
    _refuse(annotations, [f"the category {name!r} occurs more than once" for name in {*names} if names.count(name) > 1])
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints its steps
        dataset = CocoDataset(
            ann_file=str(annotations),
            data_prefix=dict(img=str(images)),
            metainfo=dict(classes=tuple(names)),
            pipeline=[],
            test_mode=True,
        )
    order = sorted(range(len(names)), key=lambda label: categories[label]["id"])
    return LabelledImages(str(annotations), dataset, tuple(names), tuple(order))


def config_images(config: str, split: str) -> LabelledImages:
    """Read the labels of a config's data loader.

    Args:
        config: a file or a name.
        split: one of ``SPLITS``.

    Returns:
        The images, with the classes of the data set.

    Raises:
        ConfigNotFoundError: if there is no such config.
        ValueError: if the config has no such split.
        EmptyDatasetError: if it has no images.
    """
    cfg = Config.fromfile(find_config(config))
    init_default_scope(cfg.get("default_scope", "mmdet"))
    with contextlib.redirect_stdout(io.StringIO()):
        dataset = labelled_loader(cfg, split).dataset
    classes = tuple(dataset.metainfo.get("classes", ()))
    return LabelledImages(f"{split}_dataloader", dataset, classes, tuple(range(len(classes))))


def _refuse(annotations: Path, problems: Sequence[str]) -> None:
    if problems:
        listed = escape_unprintable("; ".join(problems[:_SHOWN]))
        more = f"; and {len(problems) - _SHOWN} more" if len(problems) > _SHOWN else ""
        count = f"{len(problems)} broken entr{'ies' if len(problems) > 1 else 'y'}"
        raise ValueError(f"{annotations} has {count}: {listed}{more}")
