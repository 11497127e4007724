"""Writes the numbers of a report: everything as JSON, and detections, objects and errors as CSV."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from pathlib import Path

import numpy as np

from ...runtime.atomic_files import write_whole
from .examined_image import Examination
from .number_tables import detection_rows, error_rows, object_rows, table_text
from .report_content import ReportContent

_DIGITS = 6  # after the point, in report.json


def write_numbers(content: ReportContent, examinations: Sequence[Examination], folder: Path) -> list[Path]:
    """Write ``report.json``, ``detections.csv``, ``objects.csv`` and ``errors.csv``.

    Args:
        content: the report.
        examinations: of its models, in the same order.
        folder: where the files are written; it must exist.

    Returns:
        The files.

    Raises:
        OSError: if a file cannot be written.
    """
    pairs = list(zip(content.models, examinations))
    texts = {
        "report.json": json.dumps(plain(content), allow_nan=False) + "\n",
        "detections.csv": table_text(row for pair in pairs for row in detection_rows(*pair)),
        "objects.csv": table_text(row for pair in pairs for row in object_rows(*pair)),
        "errors.csv": table_text(row for report, _ in pairs for row in error_rows(report)),
    }
    for name, text in texts.items():
        write_whole(folder / name, text)
    return [folder / name for name in texts]


def plain(value: object) -> object:
    """Make a value of what JSON knows.

    Args:
        value: dataclasses, mappings, sequences, arrays, numbers, texts and None, in each other.

    Returns:
        Dicts, lists, numbers rounded to 6 digits after the point, texts and None, which stands for NaN and infinity.
    """
    if is_dataclass(value):
        return {one.name: plain(getattr(value, one.name)) for one in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): plain(one) for key, one in value.items()}
    if isinstance(value, (np.ndarray, np.generic)):
        return plain(value.tolist())
    if isinstance(value, (list, tuple)):
        return [plain(one) for one in value]
    if isinstance(value, float):
        return round(value, _DIGITS) if math.isfinite(value) else None
    return value
