"""Gaps of third-party versions, one per file, each closed only where it exists.

This package imports only NMS, which needs nothing of MMDetection, so that it can run before anything of MMDetection is
imported.
"""

from __future__ import annotations

from . import amp_on_cpu, mmcv_ops, processes_on_cpu, ssd_prediction, weights_only

_prepared: list[str] | None = None


def prepare() -> list[str]:
    """Close the gaps this environment has; a second call does nothing.

    Returns:
        One sentence for each gap that was closed, in order.
    """
    global _prepared
    if _prepared is None:
        gaps = (mmcv_ops, weights_only, ssd_prediction, amp_on_cpu, processes_on_cpu)
        _prepared = [sentence for sentence in (gap.close() for gap in gaps) if sentence]
        if _prepared:
            from mmengine.logging import print_log

            print_log("gfl_plugin: " + "; ".join(_prepared), logger="current")
    return _prepared
