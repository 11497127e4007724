_base_ = "mmdet::retinanet/retinanet_r50_fpn_1x_coco.py"
custom_imports = dict(imports=["gfl_plugin"], allow_failed_imports=False)
model = dict(
    bbox_head=dict(
        type="gfl_plugin.RetinaQFLHead",
        loss_cls=dict(
            _delete_=True,
            type="QualityFocalLoss",
            use_sigmoid=True,
            beta=2.0,
            loss_weight=1.0,
        ),
    ),
)
