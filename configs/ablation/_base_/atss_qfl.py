# Like atss.py, with the joint score trained with QFL instead of the centerness branch.
_base_ = "atss.py"
model = dict(
    bbox_head=dict(
        quality=dict(_delete_=True, type="JointQuality"),
        loss_cls=dict(_delete_=True, type="QualityFocalLoss", use_sigmoid=True, beta=2.0, loss_weight=1.0),
    )
)
