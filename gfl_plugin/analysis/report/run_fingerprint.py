"""A fingerprint of what examined images depend on: the config, the weights, the labels and the image files."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from mmengine.config import Config
from torch.utils.data import Dataset

from ... import __version__

_FORMAT = 1  # of the files of examined images; a change makes the files of older versions useless
_CHUNK = 1 << 20  # bytes


def run_fingerprint(cfg: Config, checkpoint: Path, dataset: Dataset, split: str) -> str:
    """Hash everything that changes the examined images.

    Args:
        cfg: the complete config.
        checkpoint: the weights; their content counts, not their path.
        dataset: the labelled images. Of an image file, path, size and time of the last change count.
        split: name of the data loader.

    Returns:
        16 hexadecimal digits.
    """
    return fingerprint([split, cfg.to_dict()], [checkpoint], dataset)


def fingerprint(settings: Sequence[object], weights: Sequence[Path], dataset: Dataset) -> str:
    """Hash settings, weights and images.

    Args:
        settings: all of them, such as JSON can hold.
        weights: files; their content counts, not their paths.
        dataset: the labelled images. Of an image file, path, size and time of the last change count.

    Returns:
        16 hexadecimal digits.
    """
    digest = hashlib.sha256(_line([_FORMAT, __version__, *settings]))
    for path in weights:
        with open(path, "rb") as file:
            while chunk := file.read(_CHUNK):
                digest.update(chunk)
    digest.update(_line(len(dataset)))
    for number in range(len(dataset) if hasattr(dataset, "get_data_info") else 0):
        digest.update(_line(_image(dataset.get_data_info(number))))
    return digest.hexdigest()[:16]


def _line(value: object) -> bytes:
    return json.dumps(value, default=str, sort_keys=True).encode()


def _image(info: Mapping) -> list[object]:
    """Path, state and labels of an image."""
    path = str(info.get("img_path", ""))
    try:
        status = os.stat(path)
        state = [status.st_size, status.st_mtime_ns]
    except (OSError, ValueError):  # a missing file, a path of another storage, or a path with a NUL
        state = []
    labels = [[one.get(name) for name in ("bbox", "bbox_label", "ignore_flag")] for one in info.get("instances", ())]
    return [path, info.get("img_id"), state, labels]
