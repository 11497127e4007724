_base_ = "gfl.py"
ablation = dict(order=2, title="joint, dynamic soft label", against="gfl")
model = dict(train_cfg=dict(assigner=dict(_delete_=True, type="mmdet.DynamicSoftLabelAssigner", topk=13)))
