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
        Left, top, right, bottom in whole pixels within the image, with at least one pixel; 4:3 where the image allows.
    """
    corners = np.asarray(boxes, float).reshape(-1, 2)
    low, high = corners.min(axis=0), corners.max(axis=0)
    margin = max(24.0, 0.35 * float((high - low).max()))
    needed = high - low + 2 * margin
    wanted = np.maximum(needed, needed[::-1] * (4 / 3, 3 / 4))
    ends = [_part(*one) for one in zip((low + high) / 2, wanted, (width, height))]
    return ends[0][0], ends[1][0], ends[0][1], ends[1][1]


def _part(center: float, size: float, end: int) -> tuple[int, int]:
    """An interval of whole pixels around a center, moved into 0 to ``end``."""
    length = int(max(1, min(np.ceil(size), end)))
    first = int(np.clip(round(center - length / 2), 0, max(0, end - length)))
    return first, first + length


def _within(image: Image.Image, side: int) -> Image.Image:
    """The image, its longest side at most ``side`` pixels."""
    scale = side / max(image.size)
    if scale >= 1:
        return image
    return image.resize((max(1, round(image.width * scale)), max(1, round(image.height * scale))), reducing_gap=2.0)
