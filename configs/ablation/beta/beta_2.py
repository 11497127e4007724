_base_ = "../_base_/atss.py"
ablation = dict(order=2, title="β = 2")
model = dict(
    bbox_head=dict(
        quality=dict(_delete_=True, type="JointQuality"),
        loss_cls=dict(_delete_=True, type="QualityFocalLoss", use_sigmoid=True, beta=2.0, loss_weight=1.0),
    )
)
