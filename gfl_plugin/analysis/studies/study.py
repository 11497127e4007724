"""A study is a folder of MMDetection configs, its variants; each says in ``ablation`` how it is to be read."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from mmengine.config import Config


@dataclass(frozen=True)
class Variant:
    """One config of a study."""

    name: str  # the file's, without .py
    path: Path
    title: str  # as the table shows it
    order: int  # place in the table
    against: str | None  # the variant its difference is taken to; None for a baseline
    small_head: dict  # what its head must have otherwise in the small detector


@dataclass(frozen=True)
class Study:
    """Variants in the order of the table."""

    name: str
    variants: tuple[Variant, ...]


def find_study(folder: Path, name: str) -> Study:
    """The study of a name.

    Args:
        folder: ``configs/ablation``, one folder a study.
        name: the study's.

    Raises:
        ValueError: for an unknown study (the error lists what exists), or a variant that does not say what it is.
    """
    studies = sorted(
        path.name for path in folder.glob("*") if path.is_dir() and path.name[0] not in "_." and any(path.glob("*.py"))
    )
    if name not in studies:
        raise ValueError(f"there is no study {name!r} in {folder}; there are: {', '.join(studies) or 'none'}")
    variants = tuple(sorted((_variant(path) for path in (folder / name).glob("*.py")), key=lambda v: v.order))
    names = [variant.name for variant in variants]
    for variant in variants:
        if variant.against is not None and variant.against not in names:
            raise ValueError(f"{variant.path} is read against {variant.against!r}; the study has {', '.join(names)}")
    return Study(name, variants)


def chosen(study: Study, names: list[str] | None) -> Study:
    """The study with some of its variants.

    Raises:
        ValueError: for an unknown variant; the error lists what exists.
    """
    if names is None:
        return study
    known = [variant.name for variant in study.variants]
    unknown = [name for name in names if name not in known]
    if unknown:
        raise ValueError(f"study {study.name} has no variant {', '.join(unknown)}; it has: {', '.join(known)}")
    return Study(study.name, tuple(variant for variant in study.variants if variant.name in names))


def _variant(path: Path) -> Variant:
    says = Config.fromfile(path).get("ablation")
    if not isinstance(says, dict) or not {"title", "order"} <= set(says):
        raise ValueError(f"{path} does not say what it is; write ablation = dict(order=0, title='...', against='...')")
    return Variant(
        name=path.stem,
        path=path,
        title=says["title"],
        order=says["order"],
        against=says.get("against"),
        small_head=says.get("small_head", {}),
    )
