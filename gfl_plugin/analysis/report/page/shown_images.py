"""Which images the page shows: the same image of all models in one entry, the worst first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..examined_image import Examination, ExaminedImage
from ..report_content import CORRECT, IGNORED, JudgedImage, ModelReport

MAX_IMAGES = 200


@dataclass(frozen=True)
class ShownImage:
    """An image with its places in the examinations."""

    image: ExaminedImage  # of the first model that has it
    places: tuple[int | None, ...]  # per model: index in its examination, None if it has not seen the image


def images_of_all(examinations: Sequence[Examination]) -> list[ShownImage]:
    """Put the same image of several models together. Images with different labels are different ones.

    Args:
        examinations: one per model.

    Returns:
        All images, in the order in which they occur.
    """
    found: dict[tuple, tuple[ExaminedImage, list[int | None]]] = {}
    for model, examination in enumerate(examinations):
        for place, image in enumerate(examination.images):
            key = (image.path, image.image_id, image.objects.boxes.tobytes(), image.objects.labels.tobytes())
            _, places = found.setdefault(key, (image, [None] * len(examinations)))
            if places[model] is None:
                places[model] = place
    return [ShownImage(image, tuple(places)) for image, places in found.values()]


def worst_first(
    shown: Sequence[ShownImage], examinations: Sequence[Examination], models: Sequence[ModelReport]
) -> list[ShownImage]:
    """Sort images by the errors of all models.

    Args:
        shown: images.
        examinations: one per model.
        models: their reports, in the same order.

    Returns:
        The images by falling :func:`badness`; equal ones keep their order.
    """

    def total(one: ShownImage) -> float:
        return sum(
            badness(model.judged[place], examination.images[place])
            for place, examination, model in zip(one.places, examinations, models)
            if place is not None
        )

    return sorted(shown, key=total, reverse=True)


def badness(judged: JudgedImage, image: ExaminedImage) -> float:
    """How much is wrong in an image.

    Args:
        judged: kinds of its detections.
        image: its scores.

    Returns:
        1 per missed object, and the score of each wrong detection, since a confident error is worse.
    """
    wrong = [one.detection for one in judged.detections if one.kind not in (CORRECT, IGNORED)]
    return len(judged.missed) + float(sum(image.scores[detection] for detection in wrong))
