"""Two models side by side: the shown images in which exactly one of them found an object."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from ..report_content import Comparison, ReportContent
from .shown_images import ShownImage


def compared_images(content: ReportContent, shown: Sequence[ShownImage]) -> list[dict]:
    """Objects that exactly one of two models found, by image.

    Args:
        content: of the report.
        shown: images of the page.

    Returns:
        Values for JSON, most differences first: ``image`` (index in ``shown``) and ``only``, for each of the two
        models the indices of the objects that it alone found.
    """
    comparison = content.comparison
    if comparison is None:
        return []
    first = [model.name for model in content.models].index(comparison.models[0])
    number = {one.places[first]: index for index, one in enumerate(shown) if one.places[first] is not None}
    only: dict[int, tuple[list[int], list[int]]] = defaultdict(lambda: ([], []))
    for one in comparison.differences:
        if one.image in number:
            only[number[one.image]][comparison.models.index(one.found_by)].append(int(one.object))
    images = [{"image": image, "only": [list(part) for part in parts]} for image, parts in only.items()]
    return sorted(images, key=lambda one: -sum(map(len, one["only"])))


def hidden_differences(comparison: Comparison, images: Sequence[dict]) -> int:
    """Count the differences in images that the page does not show.

    Args:
        comparison: of the models.
        images: of :func:`compared_images`.

    Returns:
        The number.
    """
    return len(comparison.differences) - sum(len(part) for one in images for part in one["only"])
