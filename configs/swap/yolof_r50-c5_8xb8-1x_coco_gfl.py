_base_ = "mmdet::yolof/yolof_r50-c5_8xb8-1x_coco.py"
custom_imports = dict(imports=["gfl_plugin"], allow_failed_imports=False)
model = dict(
    type="GFL",
    bbox_head=dict(
        _delete_=True,
        type="gfl_plugin.GFLHead",
        num_classes=80,
        in_channels=512,
        feat_channels=256,
        stacked_convs=4,
        anchor_generator=dict(
            type="AnchorGenerator",
            ratios=[1.0],
            octave_base_scale=8,
            scales_per_octave=1,
            strides=[32],
        ),
        loss_cls=dict(type="QualityFocalLoss", use_sigmoid=True, beta=2.0, loss_weight=1.0),
        loss_dfl=dict(type="DistributionFocalLoss", loss_weight=0.25),
        reg_max=23,
        loss_bbox=dict(type="GIoULoss", loss_weight=2.0),
    ),
    train_cfg=dict(
        _delete_=True,
        assigner=dict(type="gfl_plugin.ATSSAssigner", topk=9),
        allowed_border=-1,
        pos_weight=-1,
        debug=False,
    ),
    test_cfg=dict(
        _delete_=True,
        nms_pre=1000,
        min_bbox_size=0,
        score_thr=0.05,
        nms=dict(type="nms", iou_threshold=0.6),
        max_per_img=100,
    ),
)
