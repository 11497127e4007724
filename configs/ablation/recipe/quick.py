_base_ = "gfl.py"
ablation = dict(order=9, title="joint with a quick start, ATSS", against="gfl")
model = dict(
    bbox_head=dict(
        quality=dict(type="JointQuality", box_weight="one"),
        loss_cls=dict(_delete_=True, type="gfl_plugin.MatchabilityAwareLoss", gamma=1.5),
        bbox_coder=dict(type="IntegralBBoxCoder", initial_distance=4.0),
    )
)
