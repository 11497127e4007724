"""The size of an image as OpenCV, with which MMDetection reads images, decodes it."""

from __future__ import annotations

from pathlib import Path

_ORIENTATION = 0x0112  # EXIF tag; 5 to 8 exchange width and height


def picture_size(path: Path) -> tuple[int, int]:
    """Read width and height without decoding the image.

    globox's ``get_image_size`` ignores the orientation of photographs, which OpenCV applies.

    Args:
        path: of the image.

    Returns:
        Width and height in pixels.

    Raises:
        ValueError: if it is not an image.
    """
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path) as picture:
            width, height = picture.size
            turned = picture.getexif().get(_ORIENTATION, 1) in (5, 6, 7, 8)
    except (OSError, SyntaxError, UnidentifiedImageError, Image.DecompressionBombError) as error:
        raise ValueError(f"image cannot be read: {path}: {' '.join(str(error).split())}") from error
    return (height, width) if turned else (width, height)
