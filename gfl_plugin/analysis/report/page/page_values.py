"""Values of the template, from the content of a report."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..examined_image import Examination
from ..report_content import ReportContent
from .compared import compared_images, hidden_differences
from .findings import findings
from .gallery import gallery_data
from .least_certain import least_certain
from .quality_tables import curve_table, found_table, score_table, side_tables
from .shown_images import MAX_IMAGES, images_of_all, worst_first
from .summary_tables import accuracy_table, class_table, error_table, model_table
from .suspects import suspect_cards
from .words import KINDS


def page_values(content: ReportContent, examinations: Sequence[Examination]) -> dict[str, Any]:
    """Prepare everything that the template shows, except for the charts.

    Args:
        content: of the report.
        examinations: one per model, in the order of ``content.models``.

    Returns:
        The values by their names in the template.
    """
    models = content.models
    everything = images_of_all(examinations)
    shown = worst_first(everything, examinations, models)[:MAX_IMAGES]
    index = [{one.places[m]: n for n, one in enumerate(shown) if one.places[m] is not None} for m in range(len(models))]
    data = gallery_data(shown, examinations, models)
    data["kinds"] = {kind: list(texts) for kind, texts in KINDS.items()}
    data["compared"] = compared_images(content, shown)
    comparison = content.comparison
    if comparison is not None:
        data["compared_models"] = [[one.name for one in models].index(name) for name in comparison.models]
    return {
        "data": data,
        "data_classes": data["classes"],
        "findings": [findings(model) for model in models],
        "missing": [tuple(dict.fromkeys((*m.missing, *e.missing))) for m, e in zip(models, examinations)],
        "accuracy_table": accuracy_table(models),
        "error_table": error_table(models),
        "class_table": class_table(models),
        "model_table": model_table(examinations),
        "score_table": score_table(models),
        "curve_tables": [None if one.scores is None else curve_table(one.name, one.scores) for one in models],
        "side_tables": [None if one.sides is None else side_tables(one.name, one.sides) for one in models],
        "least_certain": [least_certain(e, model) for e, model in zip(examinations, models)],
        "suspects": [
            None if model.suspects is None else suspect_cards(m, e, model.suspects, index[m], len(models))
            for m, (e, model) in enumerate(zip(examinations, models))
        ],
        "places": index,
        "total_images": len(everything),
        "shown_images": len(shown),
        "most_detections": data["most"],
        "cut": _is_cut(data, content, index),
        "found_table": None if comparison is None else found_table(comparison),
        "hidden_differences": 0 if comparison is None else hidden_differences(comparison, data["compared"]),
        "kinds": tuple(KINDS),
    }


def _is_cut(data: dict, content: ReportContent, places: Sequence[dict[int, int]]) -> bool:
    """Whether the page leaves out detections of the images that it shows."""
    return any(
        len(model.judged[place].detections) > data["most"]
        for model, own in zip(content.models, places)
        for place in own
    )
