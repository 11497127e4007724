"""MMDetection's GFLHead and the plugin's, with equal settings and equal weights."""

from __future__ import annotations

from collections.abc import Sequence

from mmdet.registry import MODELS
from mmengine.config import ConfigDict
from torch import nn

from ...heads.gfl_defaults import gfl_head_config, gfl_test_cfg, gfl_train_cfg

KINDS = ("mmdet.GFLHead", "gfl_plugin.GFLHead")  # the order of every pair in the benchmark
CHANNELS = 256  # of COCO detectors


def build_heads(
    classes: int, device: str = "cpu", kinds: Sequence[str] = KINDS, **changes: object
) -> tuple[nn.Module, nn.Module]:
    """Build both heads with equal weights.

    Args:
        classes: number of classes C.
        device: device of the heads.
        kinds: MMDetection's class and the plugin's.
        **changes: settings of both heads that replace the defaults or are added.

    Returns:
        MMDetection's head, the plugin's head.
    """
    theirs, ours = (
        MODELS.build(
            ConfigDict(
                gfl_head_config(classes, CHANNELS, type=kind, **changes),
                train_cfg=gfl_train_cfg("ATSSAssigner"),
                test_cfg=gfl_test_cfg(),
            )
        ).to(device)
        for kind in kinds
    )
    ours.load_state_dict(theirs.state_dict())
    return theirs, ours
