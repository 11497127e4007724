_base_ = "box_weight_one_distance.py"
ablation = dict(order=11, title="quick start: the same, matchability-aware loss", against="gfl")
model = dict(bbox_head=dict(loss_cls=dict(_delete_=True, type="gfl_plugin.MatchabilityAwareLoss", gamma=1.5)))
