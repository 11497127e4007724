"""A study: a folder of MMDetection configs, one per variant, each with its row in the study's table."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from mmengine.config import Config

from .analyses import ANALYSES
from .average_precision import ALL_METRICS, PAPER_METRICS
from .score_ranking import RANKING_METRICS


@dataclass(frozen=True)
class Variant:
    """One config of a study."""

    name: str  # name of the config file without .py
    path: Path
    title: str  # in the table
    order: int  # row of the table
    against: str | None  # name of the variant with which its AP is compared; None for a baseline
    small_model: dict  # settings of its model that are different in the small detector
    metrics: tuple[str, ...] = PAPER_METRICS  # columns of the table
    analysis: str | None = None  # of the study, see Study


@dataclass(frozen=True)
class Study:
    """Variants in the order of the table."""

    name: str
    variants: tuple[Variant, ...]
    metrics: tuple[str, ...] = PAPER_METRICS  # columns of the table, those of the baselines
    analysis: str | None = None  # of the trained detectors, a name in analyses.ANALYSES; that of the baselines


def find_study(folder: Path, name: str) -> Study:
    """Read the variants of a study.

    Args:
        folder: ``configs/ablation``, with one folder per study.
        name: name of the study.

    Returns:
        The study.

    Raises:
        ValueError: if the study is unknown (the message lists the studies), a config has no complete ``ablation``, or
            a variant is compared with an unknown variant, or a metric is unknown.
    """
    studies = sorted(
        path.name for path in folder.glob("*") if path.is_dir() and path.name[0] not in "_." and any(path.glob("*.py"))
    )
    if name not in studies:
        raise ValueError(f"unknown study {name!r}; the studies in {folder} are: {', '.join(studies) or 'none'}")
    variants = tuple(sorted((_variant(path) for path in (folder / name).glob("*.py")), key=lambda v: v.order))
    names = [variant.name for variant in variants]
    for variant in variants:
        if variant.against is not None and variant.against not in names:
            raise ValueError(
                f"{variant.path}: ablation.against is {variant.against!r}; it must be one of {', '.join(names)}"
            )
    columns = dict.fromkeys(metric for variant in variants if variant.against is None for metric in variant.metrics)
    unknown = set(columns) - {*ALL_METRICS, *RANKING_METRICS}
    if unknown:
        raise ValueError(
            f"study {name}: ablation.metrics has {', '.join(sorted(unknown))}; the metrics are: "
            f"{', '.join((*ALL_METRICS, *RANKING_METRICS))}"
        )
    analyses = {variant.analysis for variant in variants if variant.against is None} - {None}
    if len(analyses) > 1 or analyses - set(ANALYSES):
        raise ValueError(
            f"study {name}: ablation.analysis is {', '.join(sorted(analyses))}; it must be one of {', '.join(ANALYSES)}"
        )
    return Study(name, variants, tuple(columns), *analyses)


def select_variants(study: Study, names: list[str] | None) -> Study:
    """Select variants of a study.

    Args:
        study: the complete study.
        names: names of the variants to keep; None for all.

    Returns:
        A study with these variants.

    Raises:
        ValueError: if a variant is unknown; the message lists the variants.
    """
    if names is None:
        return study
    known = [variant.name for variant in study.variants]
    unknown = [name for name in names if name not in known]
    if unknown:
        raise ValueError(f"study {study.name} has no variant {', '.join(unknown)}; it has: {', '.join(known)}")
    return replace(study, variants=tuple(variant for variant in study.variants if variant.name in names))


def _variant(path: Path) -> Variant:
    settings = Config.fromfile(path).get("ablation")
    if not isinstance(settings, dict) or not {"title", "order"} <= set(settings):
        raise ValueError(
            f"{path}: ablation is {settings!r}; write ablation = dict(order=0, title='...', against='...')"
        )
    return Variant(
        name=path.stem,
        path=path,
        title=settings["title"],
        order=settings["order"],
        against=settings.get("against"),
        small_model=settings.get("small_model", {}),
        metrics=tuple(settings.get("metrics", PAPER_METRICS)),
        analysis=settings.get("analysis"),
    )
