_base_ = "quick.py"
ablation = dict(order=10, title="joint with a quick start, ATSS with alpha", against="gfl")
model = dict(train_cfg=dict(assigner=dict(type="gfl_plugin.ATSSAssigner", alpha=0.8)))
