"""Intervals of detections: the boxes between which the true box lies, from margins that were calibrated before."""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path

import torch
from mmengine.logging import print_log
from torch import Tensor, nn

from ..coders import DistanceBBoxCoder
from ..structures.calibration import STD, UNITS, Calibration, inner_and_outer
from ..structures.detections import Detections
from ..structures.side_fields import BBOX_INNER, BBOX_OUTER, BBOX_STD
from .box_uncertainty import coders_with

OPTION = "intervals"  # of test_cfg: path of a file that `gfl-plugin calibrate` wrote
FORMAT = "gfl_plugin.calibration/1"
# Settings of test_cfg that decide which detections there are.
POPULATION = ("score_thr", "nms_pre", "min_bbox_size", "nms", "max_per_img")


def read_calibration(path: object) -> Calibration:
    """Read a file of ``gfl-plugin calibrate``.

    Args:
        path: value of ``test_cfg.intervals``.

    Returns:
        Its content.

    Raises:
        FileNotFoundError: if the file does not exist.
        ValueError: if the value is not a path, or the file is not such a file.
    """
    advice = f"write one with: gfl-plugin calibrate CONFIG CHECKPOINT --level 0.9 -o {path}"
    if not isinstance(path, (str, Path)):
        raise ValueError(
            f"test_cfg.{OPTION} is {path!r}; it must be the path of a file that gfl-plugin calibrate has written"
        )
    if not Path(path).is_file():
        raise FileNotFoundError(f"test_cfg.{OPTION}: file not found: {path}; {advice}")
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
    except ValueError as error:  # also UnicodeDecodeError
        raise ValueError(f"test_cfg.{OPTION}: {path} is not a JSON file; {advice}") from error
    if not isinstance(content, dict) or content.pop("format", None) != FORMAT:
        raise ValueError(f'test_cfg.{OPTION}: {path} has no "format": "{FORMAT}"; {advice}')
    try:
        content["quantiles"] = {name: tuple(row) for name, row in content["quantiles"].items()}
        return Calibration(**{**content, "classes": tuple(content["classes"])})
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"test_cfg.{OPTION}: {path} is damaged ({error}); {advice}") from error


def calibration_text(calibration: Calibration) -> str:
    """The content of a file that :func:`read_calibration` reads.

    Args:
        calibration: margins and their origin.

    Returns:
        JSON with a line break at the end.
    """
    values = {field.name: getattr(calibration, field.name) for field in fields(Calibration)}
    return json.dumps({"format": FORMAT, **values}, indent=2) + "\n"


def fingerprint(head: nn.Module) -> str:
    """A hash by which a trained head is recognized.

    Args:
        head: with a layer ``gfl_reg``, as GFLHead.

    Returns:
        16 hexadecimal digits, from the weights of ``gfl_reg`` rounded to fp16, so that a model in fp16 has the same.
    """
    digest = hashlib.sha256()
    for weight in head.gfl_reg.parameters():
        digest.update(weight.detach().half().cpu().numpy().tobytes())
    return digest.hexdigest()[:16]


def population_of(test_cfg: Mapping) -> dict[str, object]:
    """The settings that decide which detections there are.

    Args:
        test_cfg: the test settings.

    Returns:
        Those that are set, as JSON would give them back.
    """
    return json.loads(json.dumps({name: test_cfg[name] for name in POPULATION if name in test_cfg}, default=str))


class HeadIntervals:
    """The margins that the test settings of a head name; that they were calibrated for its weights is checked once."""

    def __init__(self) -> None:
        self._checked: tuple | None = None  # file, settings and weights of the last check
        self._calibration: Calibration | None = None

    def calibration(self, head: nn.Module, test_cfg: Mapping, rescale: bool) -> Calibration | None:
        """Read and check the margins, unless this has been done before.

        Args:
            head: with ``bbox_coder``, ``num_classes`` and the layer ``gfl_reg``.
            test_cfg: ``intervals`` is the path of a file, or None.
            rescale: whether boxes return to the original image's size.

        Returns:
            The margins; None if no file is named.

        Raises:
            FileNotFoundError: if the file does not exist.
            ValueError: if the file is not one of ``gfl-plugin calibrate``, or was written for another head; or without
                rescaling.
        """
        path = test_cfg.get(OPTION)
        if path is None:
            return None
        if not rescale:
            raise ValueError(
                f"test_cfg.{OPTION} is set, but boxes are not rescaled. Margins are in pixels of the original image: "
                f"predict with rescale=True, or leave {OPTION} out"
            )
        weights = tuple((weight.data_ptr(), _version(weight)) for weight in head.gfl_reg.parameters())
        state = (str(path), _changed(path), str([test_cfg.get(name) for name in POPULATION]), weights)  # nms is mutable
        if self._checked != state:
            self._calibration = _read_for(head, path, test_cfg)
            self._checked = state
        return self._calibration


def _changed(path: object) -> int | None:
    """When a file was last changed; None without a file."""
    try:
        return os.stat(path).st_mtime_ns if isinstance(path, (str, Path)) else None
    except OSError:
        return None


def _version(weight: Tensor) -> int:
    """A number that changes with the values of a tensor; 0 if it was made in inference mode, which counts none."""
    return 0 if weight.is_inference() else weight._version


def _read_for(head: nn.Module, path: object, test_cfg: Mapping) -> Calibration:
    """Read margins, and check that they belong to a head."""
    calibration = read_calibration(path)
    again = "calibrate this model with: gfl-plugin calibrate CONFIG CHECKPOINT"
    check_unit(calibration.unit, head.bbox_coder)
    classes = calibration.classes
    if len(classes) != head.num_classes:
        raise ValueError(
            f"test_cfg.{OPTION}: {path} was calibrated for {len(classes)} classes ({', '.join(classes[:5])}"
            f"{', …' if len(classes) > 5 else ''}), but the head has num_classes={head.num_classes}; {again}"
        )
    if calibration.head != fingerprint(head):
        raise ValueError(
            f"test_cfg.{OPTION}: {path} was calibrated for other weights (checkpoint "
            f"{calibration.about.get('checkpoint', 'unknown')}); its guarantee does not hold for this model: {again}"
        )
    now = population_of(test_cfg)
    other = [name for name in POPULATION if now.get(name) != calibration.test_cfg.get(name)]
    if other:
        listed = ", ".join(f"{name}={calibration.test_cfg.get(name)!r}, now {now.get(name)!r}" for name in other)
        print_log(
            f"{path} was calibrated with other settings of test_cfg: {listed}. Its level may not hold for these "
            "detections",
            logger="current",
            level=logging.WARNING,
        )
    return calibration


def available_units(coder: DistanceBBoxCoder) -> tuple[str, ...]:
    """The units of margins that boxes of a coder have.

    Args:
        coder: the head's box coder.

    Returns:
        All units, or those other than STD.
    """
    return tuple(unit for unit in UNITS if unit != STD or BBOX_STD in coder.side_fields)


def check_unit(unit: str, coder: DistanceBBoxCoder) -> None:
    """Check that boxes of a coder have the unit of margins.

    Args:
        unit: of ``Calibration``.
        coder: the head's box coder.

    Raises:
        ValueError: for standard deviations that boxes of this coder do not have.
    """
    if unit not in available_units(coder):
        raise ValueError(
            f"margins in units of {BBOX_STD} need standard deviations, which boxes of a {type(coder).__name__} do not "
            f"have; set bbox_coder to one of those that have them ({', '.join(coders_with(BBOX_STD))}), or calibrate "
            "with --unit size"
        )


def interval_fields(found: Detections, std: Tensor | None, calibration: Calibration) -> dict[str, Tensor]:
    """The inner and the outer box of each detection.

    Args:
        found: M detections in pixels of the original image.
        std: (M, 4) their ``bbox_std``, where the unit needs it.
        calibration: the margins.

    Returns:
        ``bbox_inner`` and ``bbox_outer``, (M, 4) each.
    """
    boxes = found.boxes.float()
    with torch.autocast(boxes.device.type, enabled=False):
        inner, outer = inner_and_outer(boxes, calibration.margins(boxes, found.labels, std))
    return {BBOX_INNER: inner, BBOX_OUTER: outer}
