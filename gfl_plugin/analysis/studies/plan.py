"""The runs of a study: each a variant with a seed, a config and a folder."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

from mmengine.config import Config

from .scale import Scale
from .study import Study, Variant


@dataclass(frozen=True)
class Run:
    """One training of a study."""

    variant: Variant
    seed: int
    folder: Path  # for everything that the run writes
    config: Config
    fingerprint: str  # of config and seed

    @property
    def name(self) -> str:
        """As progress and messages show it."""
        return f"{self.variant.name}, seed {self.seed}"


def plan_runs(study: Study, scale: Scale, seeds: list[int], work_dir: Path, configs: Path, data: Path) -> list[Run]:
    """All runs of a study, seed by seed.

    Args:
        study: its variants.
        scale: what is trained for a variant.
        seeds: of training; duplicates count once.
        work_dir: folder of the study.
        configs: the folder ``configs``.
        data: where the data is.
    """
    return [
        plan_run(variant, seed, work_dir, scale.config(variant, configs, data), data)
        for seed in sorted(set(seeds))
        for variant in study.variants
    ]


def plan_run(variant: Variant, seed: int, work_dir: Path, config: Config, data: Path) -> Run:
    """One run; equal configs and seeds have equal fingerprints, wherever the data is.

    Args:
        variant: what is trained.
        seed: of training.
        work_dir: folder of the study.
        config: what is trained, without a seed.
        data: where the data is; the fingerprint does not depend on it.
    """
    text = json.dumps(config.to_dict(), sort_keys=True, default=str).replace(str(data), "DATA")
    fingerprint = hashlib.sha256(f"{seed} {text}".encode()).hexdigest()[:16]
    seeded = config.copy()
    seeded.randomness = dict(seed=seed)
    return Run(variant, seed, work_dir / variant.name / f"seed_{seed}", seeded, fingerprint)
