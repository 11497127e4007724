_base_ = "../_base_/fcos.py"
ablation = dict(order=5, title="joint (QFL)", against="centerness_branch")
model = dict(
    bbox_head=dict(
        quality=dict(_delete_=True, type="JointQuality"),
        loss_cls=dict(_delete_=True, type="QualityFocalLoss", use_sigmoid=True, beta=2.0, loss_weight=1.0),
    )
)
