"""The runs of a study. Each run is a variant with a seed, a config and a folder."""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Mapping, Sequence
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
    work_dir: Path  # folder of the study
    folder: Path  # for all files of the run
    config: Config
    fingerprint: str  # hash of config and seed
    rate: float | None = None  # learning rate; None for that of the config

    @property
    def name(self) -> str:
        """Name in progress and messages."""
        rate = "" if self.rate is None else f", lr {self.rate}"
        return f"{self.variant.name}{rate}, seed {self.seed}"


def plan_runs(
    study: Study,
    scale: Scale,
    seeds: Sequence[int],
    work_dir: Path,
    configs: Path,
    data: Path,
    rates: Mapping[str, Sequence[float]] | None = None,
) -> list[Run]:
    """Create all runs of a study, seed by seed.

    Args:
        study: study whose variants are trained.
        scale: creates the config of a variant.
        seeds: seeds of training; duplicates are counted once.
        work_dir: folder of the study.
        configs: the folder ``configs``.
        data: folder of the data.
        rates: learning rates of each variant, by its name; a variant without an entry is left out. None for the rates
            of the configs.

    Returns:
        The runs.
    """
    own_rates = {one.name: (None,) if rates is None else rates.get(one.name, ()) for one in study.variants}
    planned = [(variant, scale.config(variant, configs, data)) for variant in study.variants if own_rates[variant.name]]
    return [
        plan_run(variant, seed, work_dir, config, data, rate)
        for seed in sorted(set(seeds))
        for variant, config in planned
        for rate in own_rates[variant.name]
    ]


def plan_run(variant: Variant, seed: int, work_dir: Path, config: Config, data: Path, rate: float | None = None) -> Run:
    """Create one run. Equal configs and seeds have equal fingerprints for any folder of the data.

    Args:
        variant: variant that is trained.
        seed: seed of training.
        work_dir: folder of the study.
        config: config that is trained, without a seed.
        data: folder of the data; the fingerprint does not depend on it.
        rate: learning rate that replaces the config's; the run is then in a folder of this rate.

    Returns:
        The run.
    """
    seeded, folder = copy.deepcopy(config), work_dir / variant.name
    if rate is not None:
        seeded.optim_wrapper.optimizer.lr = rate
        folder /= f"lr_{rate}"
    text = json.dumps(seeded.to_dict(), sort_keys=True, default=str).replace(str(data), "DATA")
    fingerprint = hashlib.sha256(f"{seed} {text}".encode()).hexdigest()[:16]
    seeded.randomness = dict(seed=seed)
    return Run(variant, seed, work_dir, folder / f"seed_{seed}", seeded, fingerprint, rate)
