_base_ = "../_base_/atss.py"
ablation = dict(order=0, title="β = 0", against="beta_2")
model = dict(
    bbox_head=dict(
        quality=dict(_delete_=True, type="JointQuality"),
        loss_cls=dict(_delete_=True, type="QualityFocalLoss", use_sigmoid=True, beta=0.0, loss_weight=1.0),
    )
)
