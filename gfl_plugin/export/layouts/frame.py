"""Brings an image to the size of a network's input, and boxes back to the image."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil

import cv2
import numpy as np

from ..model_description import NORMALIZE, RESIZE
from .layout import LETTERBOX, STRETCH, InputLayout

_INTERPOLATION = {"bilinear": cv2.INTER_LINEAR, "bicubic": cv2.INTER_CUBIC}


@dataclass(frozen=True)
class Frame:
    """Where an image lies in the input: x_input = x_image * scale + offset, likewise for y. Lengths are pixels."""

    image: tuple[int, int]  # width and height of the image
    resized: tuple[int, int]  # width and height of the image in the input
    offset: tuple[int, int]  # x and y of the image in the input
    size: tuple[int, int]  # width and height of the input

    @property
    def scale(self) -> np.ndarray:
        """(2,) pixels of the input per pixel of the image, along x and y."""
        return np.array(self.resized, np.float64) / np.array(self.image, np.float64)

    def to_image(self, points: np.ndarray) -> np.ndarray:
        """Bring points back.

        Args:
            points: (..., 2) x, y in the input.

        Returns:
            (..., 2) x, y in the image.
        """
        return (points - np.array(self.offset, np.float64)) / self.scale


def frame_of(image: tuple[int, int], layout: InputLayout) -> Frame:
    """Where an image will lie in the input.

    Args:
        image: its width and height.
        layout: of the input.

    Returns:
        The frame.
    """
    resized = (layout.size or image) if layout.resize == STRETCH else _kept_ratio(image, layout)
    size = layout.size or resized
    if layout.size_divisor is not None:
        size = tuple(ceil(one / layout.size_divisor) * layout.size_divisor for one in resized)
    free = [whole - used for whole, used in zip(size, resized)]
    # Of an odd number of added pixels, the larger part is at the right and at the bottom.
    offset = tuple(one // 2 for one in free) if layout.resize == LETTERBOX else (0, 0)
    return Frame(image, resized, offset, size)


def _kept_ratio(image: tuple[int, int], layout: InputLayout) -> tuple[int, int]:
    if layout.size is None:
        return image
    sizes = [layout.size, layout.size[::-1]] if layout.either_orientation else [layout.size]
    scale = max(min(width / image[0], height / image[1]) for width, height in sizes)
    return tuple(max(int(one * scale + 0.5), 1) for one in image)


def input_array(pixels: np.ndarray, frame: Frame, layout: InputLayout) -> np.ndarray:
    """Make the input of an image.

    Args:
        pixels: (H, W, 3) uint8, RGB.
        frame: where it lies in the input.
        layout: of the input.

    Returns:
        (B, 3, H', W') or (B, H', W', 3), the image repeated B times, of the input's type, without what happens in the
        file.
    """
    if layout.inside == RESIZE:
        return pixels[None]
    resized = cv2.resize(pixels, frame.resized, interpolation=_INTERPOLATION[layout.interpolation])
    if layout.inside == NORMALIZE:
        return resized[None]
    if layout.color == "bgr":
        resized = resized[..., ::-1]
    width, height = frame.size
    canvas = np.empty((height, width, 3), np.float32)
    canvas[:] = np.float32(layout.pad_value)
    x, y = frame.offset
    canvas[y : y + frame.resized[1], x : x + frame.resized[0]] = resized
    canvas = (canvas - np.float32(layout.mean)) / np.float32(layout.std)
    if layout.channels_first:
        canvas = canvas.transpose(2, 0, 1)
    canvas = np.rint(canvas) if layout.dtype == "uint8" else canvas
    return np.repeat(canvas[None].astype(layout.dtype), layout.batch, axis=0)
