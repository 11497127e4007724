"""The split that the name of a file or folder stands for."""

from __future__ import annotations

import re
from pathlib import Path

SPLITS = ("train", "val", "test")
_NAMES = {
    "train": "train",
    "training": "train",
    "trainval": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "dev": "val",
    "test": "test",
    "testing": "test",
}


def split_of_path(path: Path) -> str:
    """Read the split from the names of a file and its folders.

    Args:
        path: such as ``labels/train2017/a.txt``, ``valid/_annotations.coco.json`` or ``instances_val2017.json``.

    Returns:
        "train", "val" or "test", by the last folder or file that names one; "" if none does.
    """
    for part in (path.stem, *reversed(path.parts[:-1])):
        # Only whole words count: `train` in `instances_train2017`, but not in `constraint`.
        words = [_NAMES[word] for word in re.findall(r"[a-z]+", part.lower()) if word in _NAMES]
        if len(set(words)) == 1:
            return words[0]
    return ""


def split_of_folders(path: Path) -> str:
    """Read the split from the names of a file's folders only, since names of images mean nothing.

    Args:
        path: of a file.

    Returns:
        See :func:`split_of_path`.
    """
    return split_of_path(path.parent) if path.parent.parts else ""
