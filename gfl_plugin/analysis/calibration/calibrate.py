"""Calibrates the boxes of a trained detector on labelled images, and checks the result on others."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from pathlib import Path

from mmengine.config import Config
from torch import nn
from torch.utils.data import DataLoader

from ...heads.box_intervals import OPTION, available_units, check_unit, fingerprint, population_of
from ...heads.prediction import DensePrediction
from ...metrics.matched_sides import MatchedSides
from ...structures.calibration import STD, Calibration
from ..data_check.sources import sources
from ..labelled_images import labelled_loader, shared_images, split_settings
from ..progress import ProgressDisplay
from ..side_errors import LoadedDetector, collect_sides, load_detector
from ..trained_classes import class_names
from .coverage import Coverage, measure_coverage
from .fit import GroupMargins, Request, fit_margins

MATCH_IOU = 0.5  # COCO's; inner boxes rely on it, see structures.calibration.inner_and_outer


@dataclass(frozen=True)
class Result:
    """A calibration, and what was measured with it."""

    calibration: Calibration
    margins: tuple[GroupMargins, ...]
    # On other images: the calibration, then margins in other units from the same matches, by unit. {} if not measured.
    coverage: Mapping[str, tuple[Coverage, ...]]


def calibrate(
    cfg: Config, checkpoint: Path, request: Request, split: str, verify: str | None, display: ProgressDisplay
) -> Result:
    """Compute margins on one split of the data, and their coverage on another.

    Args:
        cfg: config of the detector; ``test_cfg.intervals`` is ignored.
        checkpoint: its trained weights.
        request: level, unit and groups.
        split: data loader of the config whose images are used for calibration, without ``_dataloader``.
        verify: data loader whose images are used to measure the coverage, or None.
        display: shows the progress.

    Returns:
        The calibration.

    Raises:
        FileNotFoundError: if there is no such checkpoint.
        CheckpointError: if the file is not a checkpoint.
        ValueError: if the head is not one of the plugin or does not have the unit, the classes differ, or there are too
            few matches; if a split is missing, or both have images in common.
        EmptyDatasetError: if a split has no images.
    """
    detector = load_detector(cfg, checkpoint, with_uncertainty=None, with_distributions=None, **{OPTION: None})
    head = _head(detector, request.unit)
    loaders = _loaders(detector, split, verify)
    classes = [class_names(detector.model, loader.dataset, head.num_classes) for loader in loaders.values()][0]
    if STD in available_units(head.bbox_coder):
        head.test_cfg.update(with_uncertainty=True)
    sides = collect_sides(detector, loaders[split], split, MATCH_IOU, display)
    calibration, margins = fit_calibration(sides, request, classes)
    counts = {one.name: {"matches": one.matches, "images": one.images} for one in margins}
    calibration = replace(
        calibration,
        head=fingerprint(head),
        test_cfg=population_of(head.test_cfg),
        about={
            "checkpoint": str(checkpoint),
            "data": f"{split}: {_annotation_files(detector.cfg, split)}",
            "exchangeable": request.per,
            "samples": counts,
            "date": datetime.now(timezone.utc).date().isoformat(),
        },
    )
    coverage = {}
    if verify is not None:
        others = collect_sides(detector, loaders[verify], verify, MATCH_IOU, display)
        units = [request.unit, *(unit for unit in available_units(head.bbox_coder) if unit != request.unit)]
        coverage = compare_units(sides, others, request, classes, units)
    return Result(calibration, tuple(margins), coverage)


def fit_calibration(
    sides: MatchedSides, request: Request, classes: tuple[str, ...]
) -> tuple[Calibration, list[GroupMargins]]:
    """Compute margins from matches, without the fields that describe the head.

    Args:
        sides: matches of the calibration images.
        request: level, unit and groups.
        classes: names of the classes.

    Returns:
        The calibration, and its groups with their numbers of matches.

    Raises:
        ValueError: if there are too few matches.
    """
    margins = fit_margins(sides, request, classes)
    calibration = Calibration(
        level=request.level,
        statement=request.statement,
        unit=request.unit,
        quantiles={one.name: one.quantiles for one in margins if one.quantiles is not None},
        classes=classes,
        head="",
        iou_thr=MATCH_IOU,
        group_by=request.group_by,
    )
    return calibration, margins


def compare_units(
    sides: MatchedSides, others: MatchedSides, request: Request, classes: tuple[str, ...], units: list[str]
) -> dict[str, tuple[Coverage, ...]]:
    """Measure coverage and width of margins in several units, at the same level.

    Args:
        sides: matches from which the margins are computed.
        others: matches of other images, on which they are measured.
        request: level and groups.
        classes: names of the classes.
        units: units of margins.

    Returns:
        Coverage of all matches and of the groups, by unit.
    """
    return {
        unit: tuple(measure_coverage(others, fit_calibration(sides, replace(request, unit=unit), classes)[0]))
        for unit in units
    }


def _head(detector: LoadedDetector, unit: str) -> nn.Module:
    head = detector.head
    if not isinstance(head, DensePrediction):
        raise ValueError(
            f"bbox_head is a {type(head).__name__} of {type(head).__module__.partition('.')[0]}, which has no "
            "distributions of box sides; calibrate needs gfl_plugin.GFLHead: gfl-plugin swap CONFIG -o NEW.py writes a "
            "config with it"
        )
    check_unit(unit, head.bbox_coder)
    return head


def _annotation_files(cfg: Config, split: str) -> str:
    """Names of the files with the labels of a split, also of datasets in wrappers."""
    found = sources(split_settings(cfg, split).dataset)
    return ", ".join(str(one.dataset.get("ann_file", "unknown")) for one in found)


def _loaders(detector: LoadedDetector, split: str, verify: str | None) -> dict[str, DataLoader]:
    """The data loaders by split, before hours of prediction; images of both would seem to be covered too often."""
    loaders = {name: labelled_loader(detector.cfg, name) for name in (split, verify) if name is not None}
    common = 0 if verify is None else shared_images(loaders[split].dataset, loaders[verify].dataset)
    if common:
        raise ValueError(
            f"{verify}_dataloader has {common} of the images of {split}_dataloader, from which the margins are "
            "computed; their coverage says nothing about new images: verify on other images"
        )
    return loaders
