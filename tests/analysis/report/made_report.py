"""Reports with made content: random boxes and figures from a seed, and pictures that look like photographs."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter

from gfl_plugin.analysis.report.examined_image import Examination, ExaminedImage, SideBeliefs
from gfl_plugin.analysis.report.report_content import (
    BOTH,
    CORRECT,
    ERROR_KINDS,
    NEITHER,
    SIDES,
    Accuracy,
    Comparison,
    Difference,
    ErrorCost,
    JudgedDetection,
    JudgedImage,
    ModelReport,
    ReportContent,
    ScoreQuality,
    SideFigures,
    SideQuality,
    SuspectLabel,
)
from gfl_plugin.metrics.matching import Boxes

WIDTH, HEIGHT = 640, 480
BINS = tuple(float(one) for one in range(17))
METRICS = ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR100")


@dataclass(frozen=True)
class MadeReport:
    """What the page is written from."""

    content: ReportContent
    examinations: tuple[Examination, ...]


@dataclass(frozen=True)
class Amount:
    """How much a made report holds."""

    images: int = 12
    objects: int = 6  # per image
    detections: int = 8  # per image
    classes: tuple[str, ...] = ("cell", "platelet")
    names: tuple[str, ...] = ("first", "second")


def make_report(amount: Amount, pictures: Path | None = None, seed: int = 0) -> MadeReport:
    """A report with all parts: the first model has bins, the others have normal distributions.

    Args:
        amount: how much it holds.
        pictures: folder into which images are written; None for paths without files.
        seed: of all random numbers.

    Returns:
        The report.
    """
    random = np.random.default_rng(seed)
    truth = [_boxes(random, amount.objects, amount.classes) for _ in range(amount.images)]
    paths = [_path(random, pictures, number) for number in range(amount.images)]
    examinations = tuple(
        _examination(random, amount, name, truth, paths, model == 0) for model, name in enumerate(amount.names)
    )
    models = tuple(_model(random, one) for one in examinations)
    return MadeReport(
        ReportContent(
            title="A made report",
            created="2026-01-31",
            command="gfl-plugin report first.py first.pth -o report/",
            split="val_dataloader",
            models=models,
            comparison=_comparison(amount) if len(models) == 2 else None,
        ),
        examinations,
    )


def without_parts(made: MadeReport, sentence: str) -> MadeReport:
    """The same report without the parts that may be None.

    Args:
        made: a report.
        sentence: why they are missing.

    Returns:
        The report.
    """
    models = tuple(
        replace(one, scores=None, sides=None, suspects=None, missing=(sentence,)) for one in made.content.models
    )
    examinations = tuple(
        replace(one, bins=None, images=tuple(replace(image, sides=None) for image in one.images))
        for one in made.examinations
    )
    return MadeReport(replace(made.content, models=models), examinations)


def picture(random: np.random.Generator) -> Image.Image:
    """An image that compresses about as well as a photograph.

    Args:
        random: source of its content.

    Returns:
        It, in RGB.
    """
    rough = Image.fromarray(random.integers(0, 256, (HEIGHT // 20, WIDTH // 20, 3), np.uint8))
    smooth = np.asarray(rough.resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC), float)
    grain = Image.fromarray(random.integers(0, 256, (HEIGHT, WIDTH), np.uint8)).filter(ImageFilter.GaussianBlur(1))
    return Image.fromarray(np.clip(smooth + 0.2 * (np.asarray(grain, float)[..., None] - 128), 0, 255).astype(np.uint8))


def _path(random: np.random.Generator, pictures: Path | None, number: int) -> str:
    path = (pictures or Path("nowhere")) / f"image_{number:04d}.jpg"
    if pictures is not None:
        picture(random).save(path, quality=92)
    return str(path)


def _boxes(random: np.random.Generator, count: int, classes: tuple[str, ...]) -> Boxes:
    corner = random.uniform(0, 1, (count, 2)) * (WIDTH - 160, HEIGHT - 160)
    return Boxes(
        np.hstack([corner, corner + random.uniform(16, 150, (count, 2))]), random.integers(len(classes), size=count)
    )


def _examination(
    random: np.random.Generator, amount: Amount, name: str, truth: list[Boxes], paths: list[str], with_bins: bool
) -> Examination:
    images = tuple(
        _image(random, amount, path, number, objects, with_bins)
        for number, (path, objects) in enumerate(zip(paths, truth))
    )
    bins = BINS if with_bins else None
    return Examination(name, f"{name}.py", f"{name}.pth", "GFLHead, made", amount.classes, bins, images)


def _image(
    random: np.random.Generator, amount: Amount, path: str, number: int, objects: Boxes, with_bins: bool
) -> ExaminedImage:
    found = _boxes(random, amount.detections, amount.classes)
    near = min(amount.detections, len(objects.labels))  # the first detections lie near objects
    found.boxes[:near] = objects.boxes[:near] + random.normal(0, 4, (near, 4))
    found.labels[:near] = objects.labels[:near]
    return ExaminedImage(
        path=path,
        image_id=number,
        width=WIDTH,
        height=HEIGHT,
        objects=objects,
        ignored=Boxes(np.zeros((0, 4)), np.zeros(0, int)),
        detections=found,
        scores=np.sort(random.uniform(0.3, 1, amount.detections))[::-1],
        sides=_sides(random, found.boxes, with_bins),
    )


def _sides(random: np.random.Generator, boxes: np.ndarray, with_bins: bool) -> SideBeliefs:
    std = random.uniform(1, 20, (len(boxes), 4))
    if not with_bins:
        return SideBeliefs(std)
    probabilities = random.dirichlet(np.full(len(BINS), 0.3), (len(boxes), 4))
    origins = np.tile((boxes[:, :2] + boxes[:, 2:]) / 2, 2)
    return SideBeliefs(std, probabilities, origins, np.full((len(boxes), 4), 8.0) * (-1, -1, 1, 1))


def _model(random: np.random.Generator, examination: Examination) -> ModelReport:
    judged = tuple(_judged(random, number, image) for number, image in enumerate(examination.images))
    count = sum(len(one.detections) for one in judged)
    scores, iou = random.uniform(0, 1, (2, count))
    return ModelReport(
        name=examination.name,
        accuracy=_accuracy(random, examination.classes),
        scores=ScoreQuality(scores, iou, ((0.2, 0.3, 0.1, 5), (0.7, 0.6, 0.8, 9)), 0.7, 0.4, 0.12, 0.15, 0.08)
        if count
        else None,
        sides=_side_quality(random, max(1, count)),
        suspects=_suspects(examination),
        judged=judged,
        missing=(),
        score_threshold=0.3,
    )


def _judged(random: np.random.Generator, number: int, image: ExaminedImage) -> JudgedImage:
    kinds = (CORRECT, *(one for one in ERROR_KINDS if one != "missed"))
    near = min(len(image.scores), len(image.objects.labels))
    detections = tuple(
        JudgedDetection(row, str(random.choice(kinds)), float(random.uniform()), row if row < near else -1)
        for row in range(len(image.scores))
    )
    return JudgedImage(number, detections, tuple(range(near, len(image.objects.labels))) or (0,) * min(1, near))


def _accuracy(random: np.random.Generator, classes: tuple[str, ...]) -> Accuracy:
    metrics = {name: float(random.uniform(20, 60)) for name in METRICS}
    return Accuracy(
        metrics=metrics | {"APs": float("nan")},
        per_class={name: float(random.uniform(20, 60)) for name in classes},
        perfect_ranking={name: value + 10 for name, value in metrics.items()},
        errors=tuple(
            ErrorCost(kind, int(random.integers(1, 2000)), float(random.uniform(0, 9)), int(random.integers(100)))
            for kind in ERROR_KINDS
        ),
    )


def _side_quality(random: np.random.Generator, matches: int) -> SideQuality:
    figures = tuple(
        SideFigures(side, group, 50, 0.4, 6.0, 7.0, float(random.uniform(0.8, 1)), 11.0)
        for group in ("all", "small", "medium", "large")
        for side in ("all", *SIDES)
    )
    std = random.uniform(1, 20, (matches, 4))
    return SideQuality(0.9, figures, std, random.normal(0, std))


def _suspects(examination: Examination) -> tuple[SuspectLabel, ...]:
    """The side of each first object that is farthest from the first detection."""
    found = []
    for number, image in enumerate(examination.images):
        if not len(image.scores) or not len(image.objects.labels):
            continue
        label, predicted = image.objects.boxes[0], image.detections.boxes[0]
        side, margin = int(np.abs(label - predicted).argmax()), 0.5
        distance = abs(float(label[side] - predicted[side]))
        if distance > margin:
            found.append(
                SuspectLabel(
                    *(number, 0, 0, SIDES[side], float(label[side]), float(predicted[side])),
                    *(distance - margin, distance / margin, 0.7),
                )
            )
    return tuple(sorted(found, key=lambda one: -one.suspicion))


def _comparison(amount: Amount) -> Comparison:
    """The models take turns in finding an object alone."""
    differences = tuple(
        Difference(image, 0, amount.names[image % 2]) for image in range(amount.images if amount.objects else 0)
    )
    counts = {name: sum(one.found_by == name for one in differences) for name in amount.names}
    return Comparison((amount.names[0], amount.names[1]), {BOTH: 4, NEITHER: 3} | counts, differences)
