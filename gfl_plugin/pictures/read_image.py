"""Reads the image files on which a picture is drawn, as MMDetection's pipelines read them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import cv2
import mmcv
import numpy as np
from mmengine.fileio import get


def read_rgb(path: str | Path, backend_args: Mapping | None = None) -> np.ndarray:
    """Read an image, turned as its EXIF orientation says, as MMDetection's ``LoadImageFromFile`` does.

    Args:
        path: a file, or a name that the backend knows.
        backend_args: of MMEngine's file backend; None for local files.

    Returns:
        (H, W, 3) uint8, RGB.

    Raises:
        OSError: if the file cannot be read (FileNotFoundError if it does not exist), or is not an image.
    """
    content = get(str(path), backend_args=backend_args)
    try:
        image = mmcv.imfrombytes(content)
    except cv2.error:  # of an empty file
        image = None
    if image is None:
        raise OSError(f"{path} is not an image that OpenCV can read, or is damaged")
    return np.ascontiguousarray(image[..., ::-1])
