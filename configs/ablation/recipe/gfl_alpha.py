_base_ = "gfl.py"
ablation = dict(order=1, title="joint, ATSS with alpha", against="gfl")
model = dict(train_cfg=dict(assigner=dict(type="gfl_plugin.ATSSAssigner", alpha=0.8)))
