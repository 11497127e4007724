"""The columns of tables of boxes: globox reads OpenImages' names only."""

from __future__ import annotations

from collections.abc import Sequence

_NAMES = {
    "image": ("filename", "file_name", "image", "image_id", "imageid", "image_path", "img", "path", "file"),
    "label": ("class", "label", "labelname", "class_name", "category", "category_name", "name", "cell_type"),
    "xmin": ("xmin", "x_min", "x1", "left"),
    "ymin": ("ymin", "y_min", "y1", "top"),
    "xmax": ("xmax", "x_max", "x2", "right"),
    "ymax": ("ymax", "y_max", "y2", "bottom"),
}


def known_columns(header: Sequence[str]) -> dict[str, str] | None:
    """Find the columns that describe boxes.

    Args:
        header: first row of the table.

    Returns:
        Heading by "image", "label", "xmin", "ymin", "xmax" and "ymax"; None if one is missing.
    """
    headings = {one.strip().lower().replace(" ", "_"): one for one in reversed(header)}
    found = {column: headings[name] for column, names in _NAMES.items() for name in reversed(names) if name in headings}
    return found if len(found) == len(_NAMES) else None
