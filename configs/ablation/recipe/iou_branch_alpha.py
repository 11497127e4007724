_base_ = "iou_branch.py"
ablation = dict(order=6, title="IoU branch, ATSS with alpha", against="gfl")
model = dict(train_cfg=dict(assigner=dict(type="gfl_plugin.ATSSAssigner", alpha=0.8)))
