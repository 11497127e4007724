"""The runs of a study. Each run is a variant with a seed, a config and a folder."""

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
    folder: Path  # for all files of the run
    config: Config
    fingerprint: str  # hash of config and seed

    @property
    def name(self) -> str:
        """Name in progress and messages."""
        return f"{self.variant.name}, seed {self.seed}"


def plan_runs(study: Study, scale: Scale, seeds: list[int], work_dir: Path, configs: Path, data: Path) -> list[Run]:
    """Create all runs of a study, seed by seed.

    Args:
        study: study whose variants are trained.
        scale: creates the config of a variant.
        seeds: seeds of training; duplicates are counted once.
        work_dir: folder of the study.
        configs: the folder ``configs``.
        data: folder of the data.

    Returns:
        The runs.
    """
    return [
        plan_run(variant, seed, work_dir, scale.config(variant, configs, data), data)
        for seed in sorted(set(seeds))
        for variant in study.variants
    ]


def plan_run(variant: Variant, seed: int, work_dir: Path, config: Config, data: Path) -> Run:
    """Create one run. Equal configs and seeds have equal fingerprints for any folder of the data.

    Args:
        variant: variant that is trained.
        seed: seed of training.
        work_dir: folder of the study.
        config: config that is trained, without a seed.
        data: folder of the data; the fingerprint does not depend on it.

    Returns:
        The run.
    """
    text = json.dumps(config.to_dict(), sort_keys=True, default=str).replace(str(data), "DATA")
    fingerprint = hashlib.sha256(f"{seed} {text}".encode()).hexdigest()[:16]
    seeded = config.copy()
    seeded.randomness = dict(seed=seed)
    return Run(variant, seed, work_dir / variant.name / f"seed_{seed}", seeded, fingerprint)
