_base_ = "iou_branch.py"
ablation = dict(order=5, title="IoU branch, dynamic soft label", against="gfl")
model = dict(train_cfg=dict(assigner=dict(_delete_=True, type="mmdet.DynamicSoftLabelAssigner", topk=13)))
