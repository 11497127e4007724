_base_ = "mmdet::fcos/fcos_r50-caffe_fpn_gn-head_1x_coco.py"
custom_imports = dict(imports=["gfl_plugin"], allow_failed_imports=False)
model = dict(
    bbox_head=dict(
        type="gfl_plugin.FCOSQFLHead",
        loss_cls=dict(
            _delete_=True,
            type="QualityFocalLoss",
            use_sigmoid=True,
            beta=2.0,
            loss_weight=1.0,
        ),
    ),
)
