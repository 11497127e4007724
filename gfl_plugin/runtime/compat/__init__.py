"""Gaps of third-party versions, one per file, each closed only where it exists.

This package imports only NMS and the readers of checkpoints, which need nothing of MMDetection, so that it can run
before anything of MMDetection is imported.
"""

from __future__ import annotations

import logging
import multiprocessing
import os

from ..checkpoints import protection_is_off
from . import (
    amp_on_cpu,
    checkpoint_loaders,
    compiled_train_step,
    config_texts,
    empty_datasets,
    mmcv_ops,
    package_paths,
    plugin_configs,
    processes_on_cpu,
    resume,
    ssd_prediction,
    weights_only,
)

# mmcv's operators first: MMDetection, which later ones import, needs them.
_GAPS = (
    mmcv_ops,
    package_paths,
    plugin_configs,
    weights_only,
    checkpoint_loaders,
    config_texts,
    resume,
    ssd_prediction,
    empty_datasets,
    amp_on_cpu,
    compiled_train_step,
    processes_on_cpu,
)
_prepared: list[str] | None = None


def prepare() -> list[str]:
    """Close the gaps this environment has; a second call does nothing.

    The first call logs one line at INFO to the logger ``gfl_plugin``, so that
    ``logging.getLogger("gfl_plugin").setLevel("WARNING")`` before the import silences it.

    Returns:
        One sentence for each gap that was closed, in order.
    """
    global _prepared
    if _prepared is None:
        _prepared = [sentence for sentence in (gap.close() for gap in _GAPS) if sentence]
        _log(len(_prepared))
    return _prepared


def _log(count: int) -> None:
    """Say how many gaps were closed, once per run and on stderr: a script's stdout is its result."""
    if multiprocessing.current_process().name != "MainProcess" or os.environ.get("RANK", "0") != "0":
        return
    logger = logging.getLogger("gfl_plugin")
    if logger.level == logging.NOTSET:
        logger.setLevel(logging.INFO)
    if not logger.hasHandlers():
        logger.addHandler(logging.StreamHandler())
        logger.handlers[0].setFormatter(logging.Formatter("%(name)s: %(message)s"))
    if count:
        logger.info("closed %d gaps of this environment; gfl_plugin.compat.prepare() lists them", count)
    if protection_is_off():
        logger.warning("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD is set, so checkpoints may run code when they are loaded")
