"""Writes a report about one or more models: predictions, numbers, suspect labels and the page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from pathlib import Path

from ..progress import ProgressDisplay
from .comparison import compare, same_images
from .examine import examine
from .examined_image import Examination
from .image_source import Subject
from .model_names import folder_names
from .model_report import model_report, with_suspects
from .report_content import Comparison, ModelReport, ReportContent
from .write_numbers import write_numbers

PREDICTIONS = "predictions"  # folder in that of the report


@dataclass(frozen=True)
class Request:
    """What a report is about."""

    subjects: tuple[Subject, ...]  # with different names, all of one split
    level: float  # of the intervals of sides, in (0, 1)
    command: str  # that writes the report again


def write_report(request: Request, folder: Path, display: ProgressDisplay) -> ReportContent:
    """Examine the models, and write the report.

    Args:
        request: the models and the images.
        folder: where it is written; it must exist. Predictions in it that still fit are used again.
        display: shows the progress.

    Returns:
        The content.

    Raises:
        FileNotFoundError: if a checkpoint does not exist.
        CheckpointError: if a file is not a checkpoint.
        EmptyDatasetError: if there are no images.
        ValueError: if model and data do not fit, see :func:`examine`.
        MissingPackageError: if a package of the extra ``[report]`` is missing.
    """
    from .page import write_page

    examinations = [examine(subject, folder / PREDICTIONS, display) for subject in request.subjects]
    reports = []
    for own, name in zip(examinations, folder_names([one.name for one in examinations])):
        with display.task(f"analyzing {own.name}"):
            target = folder if len(examinations) == 1 else folder / name
            reports.append(_with_suspects(model_report(own, request.level), own, request.level, target))
    models, comparison = _compared(reports, examinations)
    split = request.subjects[0].split
    content = ReportContent(
        title=f"{', '.join(one.name for one in reports)} on {split}",
        created=datetime.now(timezone.utc).date().isoformat(),
        command=request.command,
        split=split,
        models=models,
        comparison=comparison,
    )
    with display.task("writing the report"):
        write_numbers(content, examinations, folder)
        write_page(content, examinations, folder)
    return content


def _with_suspects(report: ModelReport, examination: Examination, level: float, folder: Path) -> ModelReport:
    """Add the suspect labels, which are also written into the folder of the model."""
    from .suspect_labels import find_suspects
    from .write_suspects import write_suspects

    try:
        suspects = find_suspects(examination, level)
    except ValueError as error:  # too few images for the level
        return replace(report, missing=(*report.missing, f"There is no list of suspect labels: {error}."))
    folder.mkdir(exist_ok=True)
    write_suspects(suspects, examination, folder)
    return with_suspects(report, suspects)


def _compared(
    reports: Sequence[ModelReport], examinations: Sequence[Examination]
) -> tuple[tuple[ModelReport, ...], Comparison | None]:
    """Two models with their comparison; other numbers of models without one."""
    if len(reports) != 2:
        return tuple(reports), None
    if same_images(*examinations):
        return tuple(reports), compare(*reports, examinations[0])
    why = "The models are not compared: the images, labels or classes of their configs differ."
    return tuple(replace(one, missing=(*one.missing, why)) for one in reports), None
