"""GFL's settings in MMDetection's configs, which both heads of the benchmark are built with."""

from __future__ import annotations

STRIDES = (8, 16, 32, 64, 128)  # pixels


def gfl_head_config(num_classes: int, in_channels: int, **changes: object) -> dict:
    """The config of a GFL head; ``type`` is the plugin's head where ``changes`` does not give another one.

    Args:
        num_classes: C.
        in_channels: of the feature maps.
        **changes: settings that replace these.
    """
    return {
        "type": "gfl_plugin.GFLHead",
        "num_classes": num_classes,
        "in_channels": in_channels,
        "anchor_generator": dict(
            type="AnchorGenerator", ratios=[1.0], octave_base_scale=8, scales_per_octave=1, strides=list(STRIDES)
        ),
        "loss_cls": dict(type="QualityFocalLoss", use_sigmoid=True, beta=2.0, loss_weight=1.0),
        "loss_dfl": dict(type="DistributionFocalLoss", loss_weight=0.25),
        "loss_bbox": dict(type="GIoULoss", loss_weight=2.0),
        "reg_max": 16,
        **changes,
    }


def gfl_train_cfg() -> dict:
    """``train_cfg`` of a GFL detector."""
    return dict(assigner=dict(type="ATSSAssigner", topk=9), allowed_border=-1, pos_weight=-1, debug=False)


def gfl_test_cfg() -> dict:
    """``test_cfg`` of a GFL detector."""
    return dict(
        nms_pre=1000,
        min_bbox_size=0,
        score_thr=0.05,
        nms=dict(type="nms", iou_threshold=0.6),
        max_per_img=100,
    )
