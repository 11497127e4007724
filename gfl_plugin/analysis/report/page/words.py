"""Numbers and names as the page writes them."""

from __future__ import annotations

import math

from ..report_content import CORRECT, IGNORED

NOT_DEFINED = "–"
# What the page calls each kind of detection, and what that means.
KINDS = {
    "background": ("background", "no object of any class lies there"),
    "missed": ("missed object", "an object that no detection found or came close to"),
    "classification": ("wrong class", "good position, wrong class"),
    "localization": ("poor position", "right class, IoU too low"),
    "both": ("wrong class and position", "overlaps an object, but class and position are wrong"),
    "duplicate": ("duplicate", "the object was already found by a detection with a higher score"),
    CORRECT: ("correct", "found an object"),
    IGNORED: ("ignored", "lies in an ignored region, counts neither as right nor as wrong"),
}
SIZES = {"small": "below 32 × 32 px", "medium": "32 × 32 to 96 × 96 px", "large": "above 96 × 96 px"}  # COCO's areas


def number(value: float | None, digits: int = 1, unit: str = "") -> str:
    """Write a number.

    Args:
        value: the number; None and NaN mean that it is not defined.
        digits: after the decimal point.
        unit: written after the number.

    Returns:
        The number with its unit, or a dash.
    """
    if value is None or not math.isfinite(value):
        return NOT_DEFINED
    return f"{value:.{digits}f}{unit}".replace("-", "−")


def percent(share: float | None, digits: int = 1) -> str:
    """Write a share of 1 as percent.

    Args:
        share: in [0, 1]; None and NaN mean that it is not defined.
        digits: after the decimal point.

    Returns:
        The percentage, or a dash.
    """
    return NOT_DEFINED if share is None else number(100 * share, digits, " %")


def plural(count: int, one: str, many: str = "") -> str:
    """Write a count with its noun.

    Args:
        count: how many.
        one: the noun for one.
        many: the noun for several; by default ``one`` with an s.

    Returns:
        Such as ``1 image`` or ``2,000 images``.
    """
    return f"{count:,} {one if count == 1 else many or one + 's'}"
