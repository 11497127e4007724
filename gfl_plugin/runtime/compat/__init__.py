"""Patches for gaps of third-party versions, one per file. Each is applied only where the gap exists.

The docstring of each file states problem, versions, change, and when the patch can be removed. docs/compat.md lists all
global effects of importing ``gfl_plugin``; ``private_names`` lists the private names that the package relies on.

This package imports only NMS and the readers of checkpoints, which do not import MMDetection, so that it can run before
MMDetection is imported.
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
    default_hooks,
    empty_datasets,
    fork_messages,
    mmcv_ops,
    new_style_configs,
    package_paths,
    plugin_configs,
    processes_on_cpu,
    resume,
    ssd_prediction,
    weights_only,
)

# mmcv's ops come first: later patches import MMDetection, which needs them.
_GAPS = (
    mmcv_ops,
    fork_messages,
    package_paths,
    plugin_configs,
    weights_only,
    checkpoint_loaders,
    config_texts,
    resume,
    ssd_prediction,
    new_style_configs,
    empty_datasets,
    amp_on_cpu,
    compiled_train_step,
    processes_on_cpu,
    default_hooks,
)
_prepared: list[str] | None = None


def prepare() -> list[str]:
    """Apply the patches that this environment needs; a second call does nothing.

    The first call logs one line at level INFO to the logger ``gfl_plugin``. To silence it, call
    ``logging.getLogger("gfl_plugin").setLevel("WARNING")`` before the import.

    Returns:
        One sentence per applied patch, in order.
    """
    global _prepared
    if _prepared is None:
        _prepared = [sentence for sentence in (gap.close() for gap in _GAPS) if sentence]
        _log(len(_prepared))
    return _prepared


def _log(count: int) -> None:
    """Log the number of patches once per run, to stderr: the stdout of a script is its result."""
    if multiprocessing.current_process().name != "MainProcess" or os.environ.get("RANK", "0") != "0":
        return
    logger = logging.getLogger("gfl_plugin")
    if logger.level == logging.NOTSET:
        logger.setLevel(logging.INFO)
    if not logger.hasHandlers():
        logger.addHandler(logging.StreamHandler())
        logger.handlers[0].setFormatter(logging.Formatter("%(name)s: %(message)s"))
    if count:
        logger.info("applied %d compatibility patches; gfl_plugin.compat.prepare() lists them", count)
    if protection_is_off():
        logger.warning("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD is set: checkpoints can run code when they are loaded")
