_base_ = "balanced.py"
ablation = dict(order=15, title="joint, balanced weights, matchability-aware loss, ATSS", against="gfl")
model = dict(bbox_head=dict(loss_cls=dict(_delete_=True, type="gfl_plugin.MatchabilityAwareLoss", gamma=1.5)))
