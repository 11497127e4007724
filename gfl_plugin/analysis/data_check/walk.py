"""Runs all checks on all datasets of a config."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from mmdet.registry import DATASETS
from mmengine.config import Config, ConfigDict

from .annotation_findings import annotation_findings, num_classes_findings
from .bin_proposals import BinCoverage, bin_coverage
from .file_findings import file_findings, load_failure_finding
from .findings import Finding, Report
from .readers import KINDS, read_annotations
from .sources import Source, plain_name, sources
from .training_findings import training_findings
from .training_view import DatasetError, gfl_head, view_training_set


class Progress(Protocol):
    """Shows the progress of the checks."""

    def note(self, text: str) -> None:
        """Show a message.

        Args:
            text: which check is skipped, and why.
        """

    def begin(self, task: str) -> Report:
        """Start a task.

        Args:
            task: name of the task.

        Returns:
            A function to call with the number of items done and the total number.
        """


@dataclass(frozen=True)
class DatasetReport:
    """The findings of one dataset."""

    name: str  # train, val or test (numbered from the second on), and the annotation file
    findings: tuple[Finding, ...]
    bins: BinCoverage | None = None  # of a training set for a GFL head with bins


def check(cfg: Config, images: bool, limit: int, progress: Progress) -> list[DatasetReport]:
    """Check all datasets of a config.

    Args:
        cfg: the config; MMEngine's default scope must be set.
        images: whether to decode all images.
        limit: number of training images that run through the pipeline.
        progress: shows the progress.

    Returns:
        One report per dataset.

    Raises:
        FileNotFoundError: if an annotation file does not exist.
        ValueError: if an annotation file cannot be read.
    """
    head = gfl_head(cfg)
    if head is None:
        progress.note("the head is not a GFLHead with ATSS or FCOS assignment; its training targets are not checked")
    reports = []
    for split, name, source in _datasets(cfg):
        dataset = source.dataset
        kind = KINDS.get(plain_name(dataset.type))
        if kind is None:
            progress.note(f"{name}: {plain_name(dataset.type)} is not supported; supported: {', '.join(KINDS)}")
            continue
        known, classes = read_annotations(dataset, kind), _classes(dataset)
        of_annotations = annotation_findings(known, classes, needs_objects=split != "test")
        found, bins = list(of_annotations), None
        if split == "train":
            found += _num_classes_findings(cfg, classes)
        found += file_findings(known.images, images, progress.begin(f"{name}: files"))
        if split == "train" and head is not None:
            try:
                view = view_training_set(cfg, source, head, limit, progress.begin(f"{name}: training targets"))
                found += training_findings(view, head)
                bins = bin_coverage(view, head)
            except DatasetError as error:
                found.append(load_failure_finding(error, of_annotations))
        reports.append(DatasetReport(f"{name}: {known.source}", tuple(found), bins))
    return reports


def _classes(dataset: ConfigDict) -> Sequence[str]:
    """The classes as MMEngine determines them: from metainfo, from a file named there, or from the dataset's class."""
    kind = dataset.type if isinstance(dataset.type, type) else DATASETS.get(dataset.type)
    return kind._load_metainfo(dataset.get("metainfo")).get("classes", ())


def _num_classes_findings(cfg: Config, classes: Sequence[str]) -> list[Finding]:
    """Check the number of classes of the dense head, if its config has one."""
    head = cfg.model.get("bbox_head")
    number = head.get("num_classes") if isinstance(head, dict) else None
    return [] if number is None else num_classes_findings(number, classes)


def _datasets(cfg: Config) -> Iterator[tuple[str, str, Source]]:
    """Iterate over split, name and source of all datasets."""
    for split in ("train", "val", "test"):
        loader = cfg.get(f"{split}_dataloader")
        for number, source in enumerate(sources(loader.dataset) if loader else ()):
            yield split, f"{split} {number + 1}" if number else split, source
