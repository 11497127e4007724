"""A picture of an image with detections, each side's predicted distribution drawn across the side of its box."""

from __future__ import annotations

import numpy as np
from matplotlib import patheffects
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from .pictured_boxes import BINS, NONE, NORMAL, PicturedBoxes

LONG_SIDE = 1200  # pixels of the picture's longer side; a larger image is reduced, a smaller one enlarged
_LARGEST_ZOOM = 8
_MARGIN = 0.035  # of the longer side, around the image: sides may be believed to lie beyond it
_DPI = 100
_FOOTER = 34  # pixels below the image, for a line of text
_FULL_HEIGHT = 130  # pixels of the picture: height of a curve of 1
_SIDE_SHARE = 0.9  # part of the side's length that a curve of 1 reaches at most
_SMALLEST_HEIGHT = 44  # pixels of the picture, where that would be less
_VISIBLE = 0.02  # height from which a curve is drawn
# Colors that differ also for color-blind readers, bright enough for photographs.
_COLORS = ("#ffd400", "#00c8ff", "#ff7ac8", "#5df07a", "#ff8c32", "#b59bff", "#ffffff", "#ff5a5a")
_OTHERS, _BACKGROUND = "#e8e8e8", "#202020"
_TEXTS = {
    BINS: "curves: where the model believes each side to lie (probability of its bins, one scale)",
    NORMAL: "curves: where the model believes each side to lie (normal distributions, one scale)",
    NONE: "boxes only, since the head predicts no uncertainty of box sides",
}


def side_picture(image: np.ndarray, pictured: PicturedBoxes) -> np.ndarray:
    """Draw boxes on an image, and for the best of them the distributions of their four sides.

    Each curve stands on the normal of its side, at the side's middle. It is drawn where the side may lie: high and
    narrow for a sharp boundary, low and wide for an ambiguous one. All curves of a picture have the same scale, except
    for those of small boxes, which are lower. Boxes that are not explained are thin.

    Args:
        image: (H, W, 3) uint8, RGB.
        pictured: detections in pixels of the image.

    Returns:
        (H', W', 3) uint8, RGB: the image with a margin, ``LONG_SIDE`` pixels long unless it is tiny, and a line of
        text below.
    """
    height, width = image.shape[:2]
    margin = _MARGIN * max(height, width)
    zoom = min(LONG_SIDE / (max(height, width) + 2 * margin), _LARGEST_ZOOM)
    size = round((width + 2 * margin) * zoom), round((height + 2 * margin) * zoom)  # pixels of the picture
    whole = size[1] + _FOOTER
    figure = Figure(figsize=(size[0] / _DPI, whole / _DPI), dpi=_DPI, facecolor=_BACKGROUND)
    canvas = FigureCanvasAgg(figure)
    axes = figure.add_axes((0, _FOOTER / whole, 1, size[1] / whole))
    axes.set_axis_off()
    axes.imshow(image, extent=(0, width, height, 0), interpolation="bicubic" if zoom > 1 else "antialiased")
    axes.set(xlim=(-margin, width + margin), ylim=(height + margin, -margin), aspect="auto")
    for box in pictured.boxes[pictured.explained :]:
        _draw_box(axes, box, _OTHERS, 1.0)
    for row in reversed(range(pictured.explained)):  # the best lies on top
        _draw_explained(axes, pictured, row, zoom)
    figure.text(8 / size[0], _FOOTER / 2 / whole, picture_text(pictured), color="white", size=10, va="center")
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def _draw_explained(axes: Axes, pictured: PicturedBoxes, row: int, zoom: float) -> None:
    """A box with its class, its score and the curves of its sides."""
    box, color = pictured.boxes[row], _COLORS[row % len(_COLORS)]
    _draw_box(axes, box, color, 1.6)
    if pictured.curves is not None:
        for outline in curve_outlines(pictured, row, zoom):
            axes.fill(*outline.T, color=color, alpha=0.5, linewidth=0)
            points = len(outline) // 2
            axes.plot(*outline[:points].T, color=color, linewidth=1.4, path_effects=_halo(1.4))
            axes.plot(*outline[points:].T, color=color, linewidth=0.8)
    right = box[0] > np.mean(axes.get_xlim())  # so that a long name stays in the picture
    axes.text(
        box[2] if right else box[0],
        box[1],
        f"{pictured.names[row]} {pictured.scores[row]:.2f}",
        size=9,
        va="bottom",
        ha="right" if right else "left",
        parse_math=False,
        bbox=dict(facecolor=color, edgecolor="none", pad=1.5, alpha=0.85),
    )


def _draw_box(axes: Axes, box: np.ndarray, color: str, line: float) -> None:
    x1, y1, x2, y2 = box
    axes.plot([x1, x2, x2, x1, x1], [y1, y1, y2, y2, y1], color=color, linewidth=line, path_effects=_halo(line))


def _halo(line: float) -> list[patheffects.AbstractPathEffect]:
    """A dark edge, which makes a bright line of a width visible on bright images."""
    return [patheffects.withStroke(linewidth=line + 1.5, foreground="black", alpha=0.55)]


def curve_outlines(pictured: PicturedBoxes, row: int, zoom: float) -> list[np.ndarray]:
    """The outlines of the curves of a box, on the image.

    Args:
        pictured: with curves.
        row: of the box.
        zoom: pixels of the picture per pixel of the image.

    Returns:
        For left, top, right and bottom, (2·P, 2) x, y in pixels of the image: P points of the curve, then the P points
        of the normal below them, in the opposite order; none where the curve is nowhere visible.
    """
    x1, y1, x2, y2 = (float(side) for side in pictured.boxes[row])
    outlines = []
    for side in range(4):
        heights = pictured.curves.heights[row, side]
        visible = np.flatnonzero(heights >= _VISIBLE)
        seen = slice(max(visible[0] - 1, 0), visible[-1] + 2) if len(visible) else slice(0)
        along = side % 2 == 0  # the normal of left and right is horizontal
        middle, length = ((y1 + y2) / 2, y2 - y1) if along else ((x1 + x2) / 2, x2 - x1)
        full = min(_FULL_HEIGHT, max(_SIDE_SHARE * length * zoom, _SMALLEST_HEIGHT)) / zoom
        positions, rise = pictured.curves.positions[row, side, seen], full * heights[seen]
        across = np.concatenate([middle - rise if along else middle + rise, np.full(len(rise), middle)])
        normal = np.concatenate([positions, positions[::-1]])
        outlines.append(np.stack([normal, across] if along else [across, normal], axis=1))
    return outlines


def picture_text(pictured: PicturedBoxes) -> str:
    """The line of text below a picture.

    Args:
        pictured: what the picture shows.

    Returns:
        How many boxes there are, and what their curves mean.
    """
    count = len(pictured.boxes)
    if not count:
        return f"no detection with a score of at least {pictured.score_thr:g}"
    boxes = f"{count} box{'es' if count > 1 else ''} with a score of at least {pictured.score_thr:g}"
    others = "" if pictured.explained == count else f", {pictured.explained} of them in color"
    return f"{boxes}{others}; {_TEXTS[pictured.kind]}"
