# GFLHead with the parts of ATSS: a centerness branch, one number per box side, ATSS assignment.
_base_ = "mmdet::gfl/gfl_r50_fpn_1x_coco.py"
custom_imports = dict(imports=["gfl_plugin"], allow_failed_imports=False)
model = dict(
    bbox_head=dict(
        type="gfl_plugin.GFLHead",
        quality=dict(type="QualityBranch", measure="centerness"),
        loss_cls=dict(_delete_=True, type="FocalLoss", use_sigmoid=True, gamma=2.0, alpha=0.25, loss_weight=1.0),
        bbox_coder=dict(type="DiracBBoxCoder"),
        reg_max=None,
        loss_dfl=None,
    )
)
