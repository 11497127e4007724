_base_ = "mmdet::ssd/ssd512_coco.py"
custom_imports = dict(imports=["gfl_plugin"], allow_failed_imports=False)
model = dict(
    bbox_head=dict(
        type="gfl_plugin.SSDQFLHead",
        loss_cls=dict(type="QualityFocalLoss", use_sigmoid=True, beta=2.0, loss_weight=1.0),
    ),
)
