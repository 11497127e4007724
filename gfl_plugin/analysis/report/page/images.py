"""Images inside the page: WebP in data URIs, each within a number of bytes."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

# Longest side in pixels and quality of WebP, from the best to the smallest; the first that fits is taken.
STEPS = ((640, 75), (640, 55), (640, 35), (480, 35), (360, 30), (240, 25), (160, 20))
_UNREADABLE = (OSError, ValueError, SyntaxError, Image.DecompressionBombError)  # Pillow raises them for broken files


def read_image(path: str) -> Image.Image | None:
    """Read an image file as MMDetection does: upright by its EXIF entry, in RGB.

    Args:
        path: of the file.

    Returns:
        The image, or None if it cannot be read.
    """
    if not path or not Path(path).is_file():
        return None
    try:
        with Image.open(path) as image:
            return ImageOps.exif_transpose(image).convert("RGB")
    except _UNREADABLE:
        return None


def data_uri(image: Image.Image, limit: int) -> str:
    """Encode an image for an ``src`` attribute.

    Args:
        image: in RGB.
        limit: bytes that the result should not exceed. The smallest step is taken even if it does.

    Returns:
        A data URI in the best of ``STEPS`` that fits.
    """
    for side, quality in STEPS:
        file = io.BytesIO()
        _within(image, side).save(file, "WEBP", quality=quality, method=2)  # higher methods take several times as long
        uri = "data:image/webp;base64," + base64.b64encode(file.getvalue()).decode()
        if len(uri) <= limit:
            break
    return uri


def around(boxes: Sequence[np.ndarray], width: int, height: int) -> tuple[int, int, int, int]:
    """The part of an image that shows boxes with their surroundings.

    Args:
        boxes: x1, y1, x2, y2 in pixels.
        width: of the image.
        height: of the image.

    Returns:
        Left, top, right, bottom in whole pixels within the image, with at least one pixel.
    """
    corners = np.concatenate([np.asarray(boxes, float)[:, :2], np.asarray(boxes, float)[:, 2:]])
    low, high = corners.min(axis=0), corners.max(axis=0)
    margin = max(24.0, 0.35 * float((high - low).max()))
    left, top = (int(max(0, min(value - margin, end - 1))) for value, end in zip(low, (width, height)))
    right, bottom = (int(min(end, np.ceil(value + margin))) for value, end in zip(high, (width, height)))
    return left, top, max(right, left + 1), max(bottom, top + 1)


def _within(image: Image.Image, side: int) -> Image.Image:
    """The image, its longest side at most ``side`` pixels."""
    scale = side / max(image.size)
    if scale >= 1:
        return image
    return image.resize((max(1, round(image.width * scale)), max(1, round(image.height * scale))), reducing_gap=2.0)
