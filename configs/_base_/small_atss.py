# The small detector with the baseline of GFL: MMDetection's ATSS head with its losses and its centerness branch. A config adds num_classes.
_base_ = "small_detector.py"
model = dict(
    bbox_head=dict(
        type="mmdet.ATSSHead",
        bbox_coder=dict(
            type="mmdet.DeltaXYWHBBoxCoder", target_means=[0.0, 0.0, 0.0, 0.0], target_stds=[0.1, 0.1, 0.2, 0.2]
        ),
        loss_cls=dict(type="mmdet.FocalLoss", use_sigmoid=True, gamma=2.0, alpha=0.25, loss_weight=1.0),
        loss_centerness=dict(type="mmdet.CrossEntropyLoss", use_sigmoid=True, loss_weight=1.0),
    ),
    train_cfg=dict(assigner=dict(type="mmdet.ATSSAssigner", topk=9)),
)
