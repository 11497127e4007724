"""Checks of image files, and of whether MMDetection can load a dataset."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable, Sequence

from .annotations import Image
from .findings import Finding, Report


def file_findings(images: Sequence[Image], decode: bool, report: Report) -> list[Finding]:
    """Check the image files of a dataset.

    Args:
        images: images listed in the annotations.
        decode: whether to decode each file and compare its size, not only check that it exists.
        report: function that is called after each image.

    Returns:
        The findings.
    """
    missing, broken, wrong = [], [], []
    for number, image in enumerate(images, 1):
        if not os.path.isfile(image.path):  # Path.is_file raises an error for names that are too long
            missing.append(str(image.path))
        elif decode:
            size, why = _size(image)
            if why:
                broken.append(f"{image.path}: {why}")
            elif image.width and size != (image.width, image.height):
                wrong.append(f"{image.path} is {size[0]}×{size[1]}, but {image.width}×{image.height} in its annotation")
        report(number, len(images))
    repair = "download them again; shrink those with too many pixels"
    found = [
        Finding.of_names("missing images", True, missing, len(images), "check data_root and data_prefix"),
        Finding.of_names("images that cannot be decoded", True, broken, len(images), repair),
        Finding.of_names(
            "images whose size differs from the annotation", True, wrong, len(images), "check whether boxes are scaled"
        ),
    ]
    return [one for one in found if one.count]


def _size(image: Image) -> tuple[tuple[int, int], str]:
    """Width and height of an image file, and why it cannot be decoded, or ""."""
    from PIL import Image as Pictures

    try:
        with warnings.catch_warnings():
            # Pillow warns of large images, and raises DecompressionBombError for images twice as large.
            warnings.simplefilter("ignore", Pictures.DecompressionBombWarning)
            with Pictures.open(image.path) as picture:
                picture.load()  # the error for a truncated file comes here
                return picture.size, ""
    except Exception as error:  # broken files can raise any exception
        return (0, 0), f"{type(error).__name__}: {' '.join(str(error).split())}"


def load_failure_finding(error: Exception, known: Iterable[Finding]) -> Finding:
    """Create the finding for a dataset that MMDetection cannot load.

    Args:
        error: raised by MMDetection.
        known: findings in the annotations of the dataset, which are possible causes.

    Returns:
        The finding.
    """
    kinds = [one.kind for one in known if one.serious]
    advice = f"probable cause: {', '.join(kinds)}" if kinds else "no finding in the annotations explains it"
    return Finding("datasets that MMDetection cannot load", True, 1, 1, (str(error),), advice)
