"""Images are those of MMDetection's pipelines, and errors name the file."""

from __future__ import annotations

from pathlib import Path

import gfl_plugin  # noqa: F401  # isort: skip
import numpy as np
import pytest
from mmcv.transforms import LoadImageFromFile
from PIL import Image

from gfl_plugin.pictures.read_image import read_rgb


@pytest.mark.parametrize("orientation", [1, 3, 6])
def test_pixels_are_those_of_the_pipeline(orientation: int, tmp_path: Path) -> None:
    image = Image.fromarray(np.random.default_rng(0).integers(0, 255, (20, 30, 3), dtype=np.uint8))
    exif = Image.Exif()
    exif[0x0112] = orientation
    image.save(tmp_path / "one.jpg", exif=exif)
    loaded = LoadImageFromFile()(dict(img_path=str(tmp_path / "one.jpg")))["img"]
    assert np.array_equal(read_rgb(tmp_path / "one.jpg"), loaded[..., ::-1])


@pytest.mark.parametrize("content", [b"", b"not an image", b"\x89PNG\r\n\x1a\n"])
def test_a_file_that_is_not_an_image_is_named(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "bad.png"
    path.write_bytes(content)
    with pytest.raises(OSError, match="bad.png is not an image that OpenCV can read"):
        read_rgb(path)


def test_a_missing_file() -> None:
    with pytest.raises(FileNotFoundError):
        read_rgb("missing.png")
