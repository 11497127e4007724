"""What stands out, in sentences at the top of the page."""

from __future__ import annotations

import math

from ..report_content import ModelReport
from .words import KINDS, number, percent, plural


def findings(model: ModelReport) -> list[str]:
    """The most important results of a model.

    Args:
        model: its report.

    Returns:
        One sentence each.
    """
    found = [_most_expensive_error(model), _headroom(model), _background(model), _coverage(model), _suspects(model)]
    return [sentence for sentence in found if sentence]


def _most_expensive_error(model: ModelReport) -> str:
    costs = [one for one in model.accuracy.errors if math.isfinite(one.ap50_gain) and one.ap50_gain > 0]
    if not costs:
        return ""
    worst = max(costs, key=lambda one: one.ap50_gain)
    return f"The most expensive error is “{KINDS[worst.kind][0]}”: {number(worst.ap50_gain)} points of AP50."


def _headroom(model: ModelReport) -> str:
    own, perfect = (one.get("AP", math.nan) for one in (model.accuracy.metrics, model.accuracy.perfect_ranking))
    if not math.isfinite(perfect - own):
        return ""
    return (
        f"With a perfect ranking, the same boxes would have AP {number(perfect)}: {number(perfect - own)} points more."
    )


def _background(model: ModelReport) -> str:
    if model.scores is None or not math.isfinite(model.scores.background_share):
        return ""
    return f"{percent(model.scores.background_share)} of the detections with a score of at least 0.5 lie on background."


def _coverage(model: ModelReport) -> str:
    for one in model.sides.figures if model.sides else ():
        if (one.side, one.group) == ("all", "all") and math.isfinite(one.coverage):
            return f"{percent(one.coverage)} of the sides lie within their {percent(model.sides.level, 0)} interval."
    return ""


def _suspects(model: ModelReport) -> str:
    if not model.suspects:
        return ""
    return f"{plural(len(model.suspects), 'annotation')} may have a wrong edge."
