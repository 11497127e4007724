"""Gaps of third-party versions, one per file, each closed only where it exists.

This package imports only NMS and the readers of checkpoints, which need nothing of MMDetection, so that it can run
before anything of MMDetection is imported.
"""

from __future__ import annotations

from . import (
    amp_on_cpu,
    checkpoint_loaders,
    compiled_train_step,
    config_texts,
    empty_datasets,
    mmcv_ops,
    processes_on_cpu,
    resume,
    ssd_prediction,
    weights_only,
)

# mmcv's operators first: MMDetection, which later ones import, needs them.
_GAPS = (
    mmcv_ops,
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

    Returns:
        One sentence for each gap that was closed, in order.
    """
    global _prepared
    if _prepared is None:
        _prepared = [sentence for sentence in (gap.close() for gap in _GAPS) if sentence]
        if _prepared:
            from mmengine.logging import print_log

            print_log("gfl_plugin: " + "; ".join(_prepared), logger="current")
    return _prepared
