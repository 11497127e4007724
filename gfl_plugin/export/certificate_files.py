"""Writes a certificate as JSON and as a table that a person can read."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

from ..runtime.atomic_files import write_whole
from .certificate import BOX_LIMIT, PIXEL_LIMIT, SCORE_LIMIT, Case, Certificate

JSON, PAGE = "certificate.json", "certificate.md"


def write_certificate(folder: Path, certificate: Certificate) -> None:
    """Write ``certificate.json`` and ``certificate.md``.

    Args:
        folder: an existing folder.
        certificate: the certificate.

    Raises:
        OSError: if a file cannot be written.
    """
    write_whole(folder / JSON, json.dumps(as_json(certificate), indent=1, ensure_ascii=False) + "\n")
    write_whole(folder / PAGE, as_page(certificate))


def as_json(certificate: Certificate) -> dict:
    """The certificate in JSON's types.

    Args:
        certificate: the certificate.

    Returns:
        Its fields, ``passes``, and the limits.
    """
    values = asdict(certificate)
    values["passes"] = certificate.passes
    values["limits"] = {"boxes": BOX_LIMIT, "scores": SCORE_LIMIT, "std": BOX_LIMIT, "pixels": PIXEL_LIMIT}
    return _finite(values)


def as_page(certificate: Certificate) -> str:
    """The certificate as Markdown.

    Args:
        certificate: the certificate.

    Returns:
        The text.
    """
    return "\n".join(_lines(certificate)) + "\n"


def _lines(own: Certificate) -> Iterator[str]:
    about = own.description
    verdict = "passed" if own.passes else "FAILED"
    yield from (f"# Certificate of model.onnx: {verdict}", "")
    yield (
        f"The detections of the file in ONNX Runtime were compared with those of the model in PyTorch on "
        f"{own.cases[0].difference.images} of the {own.total} images of `{own.split}_dataloader`."
    )
    yield ""
    yield from _table(
        ("model", about.model),
        [
            ("classes", ", ".join(about.classes)),
            ("contract, preprocessing in the file", f"{about.contract}, {about.input.preprocessing}"),
            ("score threshold, NMS", f"{about.score_threshold:g}, IoU {about.iou_threshold:g}"),
            ("opset", str(own.opset)),
            ("weights, SHA-256", f"`{about.weights_hash}`"),
            ("file, SHA-256", f"`{own.file_hash}`"),
            ("versions", ", ".join(f"{name} {version}" for name, version in own.versions.items())),
            ("machine", own.machine or "?"),
            ("date", own.date),
        ],
    )
    yield from ("", "## Same pixels", "")
    yield from _cases(own.cases, judged=True)
    yield ""
    yield (
        f"Limits: {BOX_LIMIT:g} px for boxes and standard deviations, {SCORE_LIMIT:g} for scores, no detection on one "
        "side only. Differences are the largest ones; pixels are those of the original image. Borderline detections "
        "are on one side only because rounding decides about them: their score is within 1e-4 of the score threshold "
        "or of the last detection that is kept, or their IoU with a better one is within 1e-4 of the threshold of NMS."
    )
    if own.pixels is not None:
        yield from (
            "",
            f"Images that the file resizes differ from OpenCV's by at most {own.pixels} grey levels "
            f"(limit: {PIXEL_LIMIT}).",
        )
    if own.from_files is not None:
        yield from ("", "## From the image files", "")
        yield (
            "For information: detect.py reads and resizes the image files itself, the PyTorch model gets them through "
            "the config's pipeline."
        )
        yield ""
        yield from _cases([own.from_files], judged=False)
    if own.ap:
        yield from ("", f"## AP of these {own.cases[0].difference.images} images", "")
        yield from _table(("measured on", "AP"), [(name, f"{value:.4f}") for name, value in own.ap.items()])


def _cases(cases: Sequence[Case], judged: bool) -> Iterator[str]:
    with_std = cases[0].difference.std is not None
    head = ["images", "number", "detections", "boxes, px", "scores", *(["std, px"] if with_std else []), "borderline"]
    rows = []
    for case in cases:
        own = case.difference
        std = [f"{own.std:.1e}"] if with_std else []
        row = [case.name, str(own.images), str(own.detections), f"{own.boxes:.1e}", f"{own.scores:.1e}", *std]
        row += [str(own.borderline), str(own.one_sided)]
        rows.append((*row, "passed" if case.passes else "FAILED") if judged else row)
    yield from _table((*head, "on one side only", *(["verdict"] if judged else [])), rows)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    yield _row(head)
    yield _row(["---"] * len(head))
    yield from map(_row, rows)


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def _finite(value: object) -> object:
    """The same value with None for numbers that JSON does not have."""
    if isinstance(value, dict):
        return {name: _finite(one) for name, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
