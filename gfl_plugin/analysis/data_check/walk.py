"""All data sets of a config, each looked at in turn."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from mmdet.registry import DATASETS
from mmengine.config import Config, ConfigDict

from . import annotations, findings, training_view
from .findings import Finding, Report

# How the annotations of MMDetection's data sets are written.
KINDS = {"CocoDataset": "coco", "XMLDataset": "voc", "VOCDataset": "voc"}


class Watcher(Protocol):
    """Is told what happens."""

    def note(self, text: str) -> None:
        """Something that is not looked at."""

    def begin(self, task: str) -> Report:
        """A task begins; what is returned is called with how much of it is done, and of how much."""


@dataclass(frozen=True)
class Checked:
    """What was found in one data set."""

    name: str  # train, val or test, numbered from the second, and the annotations' source
    findings: tuple[Finding, ...]


def check(cfg: Config, images: bool, limit: int, watcher: Watcher) -> list[Checked]:
    """Look at every data set of a config.

    Args:
        cfg: the config; its default scope is set.
        images: whether each image is opened, to its last byte.
        limit: training images that go through the pipeline.
        watcher: is told.
    """
    head = training_view.gfl_head(cfg)
    if head is None:
        watcher.note("the head is no GFLHead with ATSS or FCOS assignment: what it can learn is not looked at")
    found = []
    for split, name, source in _datasets(cfg):
        dataset = source.dataset
        kind = KINDS.get(annotations.plain_name(dataset.type))
        if kind is None:
            watcher.note(f"{name}: a {annotations.plain_name(dataset.type)} is not read; known: {', '.join(KINDS)}")
            continue
        known, classes = annotations.read(dataset, kind), _classes(dataset)
        of_annotations = findings.of_annotations(known, classes, needs_objects=split != "test")
        own = list(of_annotations)
        if split == "train":
            own += _of_num_classes(cfg, classes)
        own += findings.of_files(known.images, images, watcher.begin(f"{name}: files"))
        if split == "train" and head is not None:
            try:
                seen = training_view.look(cfg, source, head, limit, watcher.begin(f"{name}: what GFL learns"))
                own += training_view.findings_of(seen, head)
            except training_view.DatasetError as error:
                own.append(findings.of_failure(error, of_annotations))
        found.append(Checked(f"{name}: {known.source}", tuple(own)))
    return found


def _classes(dataset: ConfigDict) -> Sequence[str]:
    """The classes as MMEngine settles them: its metainfo's, a file's that it names, or its class's own."""
    kind = dataset.type if isinstance(dataset.type, type) else DATASETS.get(dataset.type)
    return kind._load_metainfo(dataset.get("metainfo")).get("classes", ())


def _of_num_classes(cfg: Config, classes: Sequence[str]) -> list[Finding]:
    """Whether the dense head, where its config says how many classes it has, has those of its training data."""
    head = cfg.model.get("bbox_head")
    number = head.get("num_classes") if isinstance(head, dict) else None
    return [] if number is None else findings.of_num_classes(number, classes)


def _datasets(cfg: Config) -> Iterator[tuple[str, str, annotations.Source]]:
    """Split, name and source of each data set."""
    for split in ("train", "val", "test"):
        loader = cfg.get(f"{split}_dataloader")
        for number, source in enumerate(annotations.sources(loader.dataset) if loader else ()):
            yield split, f"{split} {number + 1}" if number else split, source
