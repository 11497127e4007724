"""Boxes and curves are drawn where they belong."""

from __future__ import annotations

import numpy as np
import pytest

from gfl_plugin.pictures.pictured_boxes import BINS, NONE, PicturedBoxes
from gfl_plugin.pictures.side_curves import SideCurves
from gfl_plugin.pictures.side_picture import LONG_SIDE, curve_outlines, picture_text, side_picture

BOX = np.array([30.0, 20.0, 90.0, 80.0])
YELLOW = (255, 212, 0)  # of the best box


def pictured(shift: float = 0.0, flatness: float = 0.0, curves: bool = True, count: int = 1) -> PicturedBoxes:
    """Boxes whose sides have a triangle of 16 px width around them, or one that is lower and wider."""
    wide = 8 * (1 + flatness)
    positions = BOX[:, None] + shift + np.array([-wide, 0.0, wide])
    heights = np.tile(np.array([0.0, 1 / (1 + flatness), 0.0]), (4, 1))
    return PicturedBoxes(
        boxes=np.tile(BOX, (count, 1)),
        scores=np.full(count, 0.5),
        names=("cell",) * count,
        explained=1,
        curves=SideCurves(positions[None], heights[None]) if curves else None,
        score_thr=0.3,
        kind=BINS if curves else NONE,
    )


def black(width: int = 120, height: int = 100) -> np.ndarray:
    return np.zeros((height, width, 3), np.uint8)


def places(changed: np.ndarray, image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """x and y, in pixels of the image, of the pixels of the picture that are set."""
    y, x = np.nonzero(changed)
    margin = 0.035 * max(image.shape)
    zoom = changed.shape[1] / (image.shape[1] + 2 * margin)
    return (x + 0.5) / zoom - margin, (y + 0.5) / zoom - margin


def test_the_box_is_drawn_at_its_place() -> None:
    picture = side_picture(black(), pictured(curves=False))
    yellow = (np.abs(picture.astype(int) - YELLOW) < 40).all(axis=2)
    x, y = places(yellow, black())
    x, y = x[y > 40], y[y > 40]  # below the label
    assert np.abs([x.min() - 30, x.max() - 90, y.max() - 80]).max() < 0.5


@pytest.mark.parametrize("shift", [0.0, 6.0, -5.0])
def test_curves_lie_on_the_normals_where_the_distribution_is(shift: float) -> None:
    plain, drawn = (side_picture(black(), pictured(shift, curves=curves)) for curves in (False, True))
    rows = len(plain) - 34  # without the text
    x, y = places((plain != drawn).any(axis=2)[:rows], black())
    left, right = x < 40 + shift, x > 78  # the curves of top and bottom end at 77
    assert np.abs([x[left].min() - 22 - shift, x[right].max() - 98 - shift]).max() < 1
    assert np.abs([y[left].max() - 50, y[right].max() - 50]).max() < 1  # curves of left and right stand on the middle
    top = (y < 30 + shift) & ~left & ~right
    assert abs(y[top].min() - 12 - shift) < 1 and abs(x[top].min() - 60) < 1


def test_an_ambiguous_side_is_flat_and_wide() -> None:
    sharp, flat = (curve_outlines(pictured(flatness=one), 0, zoom=9.0) for one in (0.0, 3.0))
    for side, (one, other) in enumerate(zip(sharp, flat)):
        along, across = (0, 1) if side % 2 == 0 else (1, 0)
        assert np.ptp(other[:, along]) == pytest.approx(4 * np.ptp(one[:, along]))
        assert np.ptp(other[:, across]) == pytest.approx(np.ptp(one[:, across]) / 4)


def test_thin_boxes_have_no_curves() -> None:
    """The second box lies on the first: the picture is the same but for its text."""
    one, two = (side_picture(black(), pictured(count=count)) for count in (1, 2))
    yellow = [(np.abs(picture[:-34].astype(int) - YELLOW) < 40).all(axis=2).sum() for picture in (one, two)]
    assert yellow[1] == pytest.approx(yellow[0], rel=0.05)


@pytest.mark.parametrize(("width", "height"), [(3000, 2000), (300, 400), (640, 480)])
def test_pictures_have_one_size(width: int, height: int) -> None:
    picture = side_picture(black(width, height), pictured())
    assert abs(max(picture.shape[0] - 34, picture.shape[1]) - LONG_SIDE) <= 1
    assert picture.dtype == np.uint8 and picture.shape[2] == 3


def test_a_name_is_not_a_formula() -> None:
    odd = PicturedBoxes(BOX[None], np.array([0.9]), ("$\\frac{",), 1, None, 0.3, NONE)
    assert side_picture(black(), odd).any()


def test_the_text_says_what_is_shown() -> None:
    nothing = PicturedBoxes(np.zeros((0, 4)), np.zeros(0), (), 0, None, 0.25, BINS)
    assert picture_text(nothing) == "no detection with a score of at least 0.25"
    assert side_picture(black(), nothing).any()
    assert picture_text(pictured()).startswith("1 box with a score of at least 0.3; curves: ")
    assert picture_text(pictured(count=3)).startswith("3 boxes with a score of at least 0.3, 1 of them in color; ")
    assert "no uncertainty of box sides" in picture_text(pictured(curves=False))
