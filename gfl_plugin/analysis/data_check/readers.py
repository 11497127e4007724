"""Selects the reader for the annotations of a dataset."""

from __future__ import annotations

import os
from pathlib import Path

from mmengine.config import ConfigDict

from .annotations import Annotations
from .coco import read_coco
from .voc import read_voc

# Format of the annotations for each type of dataset.
KINDS = {"CocoDataset": "coco", "XMLDataset": "voc", "VOCDataset": "voc"}


def read_annotations(dataset: ConfigDict, kind: str) -> Annotations:
    """Read the annotations of a dataset. Entries with wrong values are listed in ``broken``.

    Args:
        dataset: config of the dataset.
        kind: "coco" or "voc".

    Returns:
        The annotations.

    Raises:
        FileNotFoundError: if the annotation file does not exist.
        ValueError: if the file has another format, or the config does not name a file.
    """
    root = Path(dataset.get("data_root") or "")
    ann_file = dataset.get("ann_file")
    if not isinstance(ann_file, (str, os.PathLike)) or not str(ann_file):
        raise ValueError(
            f"ann_file of the {dataset.get('type')} in {root} is {ann_file!r}; it must be the path of the annotation "
            "file"
        )
    path = root / ann_file
    if not path.is_file():
        raise FileNotFoundError(f"annotation file not found: {path}")
    return read_coco(dataset, root, path) if kind == "coco" else read_voc(dataset, root, path)
