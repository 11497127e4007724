"""The picture of detections: which boxes are drawn, where, and in which color."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gfl_plugin.analysis.detection_picture import HEADING, ZOOM, side_by_side

SIDE = 100
GREY = (90, 90, 90)
YELLOW = (0xFF, 0xD0, 0x00)  # of the class with index 1


@pytest.fixture
def picture(tmp_path: Path) -> np.ndarray:
    """Ground truth and two models on one gray image with one object; the second model detects nothing."""
    images = [dict(id=7, file_name="a.png", width=SIDE, height=SIDE)]
    objects = [dict(id=1, image_id=7, category_id=1, bbox=[20, 30, 40, 50])]
    categories = [dict(id=number, name=str(number)) for number in range(2)]
    (tmp_path / "val.json").write_text(json.dumps(dict(images=images, annotations=objects, categories=categories)))
    Image.new("RGB", (SIDE, SIDE), GREY).save(tmp_path / "a.png")
    found = [
        dict(image_id=7, category_id=0, bbox=[5, 5, 10, 10], score=0.3),
        dict(image_id=7, category_id=1, bbox=[30, 40, 40, 50], score=0.9),
        dict(image_id=8, category_id=0, bbox=[80, 5, 10, 10], score=0.95),
    ]
    (tmp_path / "found.json").write_text(json.dumps(found))
    detections = {"some": tmp_path / "found.json", "none": tmp_path / "missing.json"}
    return np.asarray(side_by_side(tmp_path / "val.json", tmp_path, detections, 4))


def panel(picture: np.ndarray, column: int) -> np.ndarray:
    return picture[HEADING:, column * ZOOM * SIDE : (column + 1) * ZOOM * SIDE]


def frame(image: np.ndarray, x: int, y: int, width: int, height: int) -> np.ndarray:
    """The colors at the centers of a box's right and lower side, where its label is not drawn."""
    x2, y2 = ZOOM * (x + width), ZOOM * (y + height)
    return np.stack([image[y2 - ZOOM * height // 2, x2], image[y2, x2 - ZOOM * width // 2]])


def test_boxes_are_drawn_where_they_are_in_the_color_of_their_class(picture: np.ndarray) -> None:
    assert (frame(panel(picture, 0), 20, 30, 40, 50) == YELLOW).all()
    assert (frame(panel(picture, 1), 30, 40, 40, 50) == YELLOW).all()


def test_the_best_detections_are_drawn_as_many_as_objects(picture: np.ndarray) -> None:
    """For one object, the detection with score 0.3 and the better one of another image are not drawn."""
    assert (frame(panel(picture, 1), 5, 5, 10, 10) == GREY).all()
    assert (frame(panel(picture, 1), 80, 5, 10, 10) == GREY).all()


def test_without_detections_the_image_is_shown_as_it_is(picture: np.ndarray) -> None:
    assert (panel(picture, 2) == GREY).all()


def test_each_column_has_a_heading(picture: np.ndarray) -> None:
    width = ZOOM * SIDE
    assert picture.shape == (HEADING + width, 3 * width, 3)
    for column in range(3):
        assert (picture[:HEADING, column * width : (column + 1) * width] < 128).any()
