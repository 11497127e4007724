_base_ = "../_base_/atss.py"
ablation = dict(order=3, title="β = 2.5", against="beta_2")
model = dict(
    bbox_head=dict(
        quality=dict(_delete_=True, type="JointQuality"),
        loss_cls=dict(_delete_=True, type="QualityFocalLoss", use_sigmoid=True, beta=2.5, loss_weight=1.0),
    )
)
