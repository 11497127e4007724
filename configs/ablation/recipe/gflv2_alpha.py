_base_ = "gflv2.py"
ablation = dict(order=8, title="GFLV2, ATSS with alpha", against="gfl")
model = dict(train_cfg=dict(assigner=dict(type="gfl_plugin.ATSSAssigner", alpha=0.8)))
