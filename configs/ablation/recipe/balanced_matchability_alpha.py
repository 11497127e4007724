_base_ = "balanced_matchability.py"
ablation = dict(order=16, title="the same, ATSS with alpha", against="gfl")
model = dict(train_cfg=dict(assigner=dict(type="gfl_plugin.ATSSAssigner", alpha=0.8)))
