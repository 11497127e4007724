"""GFL's settings, each stated once: here, or in the class that it belongs to (loss, coder, quality)."""

from __future__ import annotations

import copy
from collections.abc import Sequence

from ..coders import IntegralBBoxCoder
from ..coders.integral_bbox_coder import DEFAULT_REG_MAX
from ..quality import JointQuality

STRIDES = (8, 16, 32, 64, 128)  # pixels, of FPN's P3 to P7
LOSS_BBOX = {"type": "GIoULoss", "loss_weight": 2.0}
LOSS_LD = {"type": "LocalizationDistillationLoss", "loss_weight": 0.25}  # of LDHead


def gfl_head_config(num_classes: int, in_channels: int, strides: Sequence[int] = STRIDES, **changes: object) -> dict:
    """The config of a GFL head with every setting of the method written out.

    Args:
        num_classes: C.
        in_channels: channels of the feature maps.
        strides: pixels between locations of each level.
        **changes: settings that replace these or are added.

    Returns:
        A new dict that ``MODELS.build`` takes.
    """
    config = {
        "type": "gfl_plugin.GFLHead",
        "num_classes": num_classes,
        "in_channels": in_channels,
        "feat_channels": 256,
        "stacked_convs": 4,
        "anchor_generator": {
            "type": "AnchorGenerator",
            "ratios": [1.0],
            "octave_base_scale": 8,
            "scales_per_octave": 1,
            "strides": list(strides),
        },
        "loss_cls": JointQuality.default_loss_cls,
        "loss_dfl": IntegralBBoxCoder.default_side_loss,
        "reg_max": DEFAULT_REG_MAX,
        "loss_bbox": LOSS_BBOX,
    }
    return copy.deepcopy({**config, **changes})


def gfl_train_cfg(assigner: str = "gfl_plugin.ATSSAssigner") -> dict:
    """The training settings of a GFL detector: ``model.train_cfg``.

    Args:
        assigner: name of the assigner; without a scope it is the one of the head's own package.

    Returns:
        A new dict.
    """
    return {"assigner": {"type": assigner, "topk": 9}, "allowed_border": -1, "pos_weight": -1, "debug": False}


def gfl_test_cfg() -> dict:
    """The test settings of a GFL detector: ``model.test_cfg``.

    Returns:
        A new dict.
    """
    return {
        "nms_pre": 1000,
        "min_bbox_size": 0,
        "score_thr": 0.05,
        "nms": {"type": "nms", "iou_threshold": 0.6},
        "max_per_img": 100,
    }
