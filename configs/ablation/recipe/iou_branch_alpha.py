_base_ = "iou_branch.py"
ablation = dict(order=4, title="IoU branch, ATSS with alpha", against="gfl")
model = dict(train_cfg=dict(assigner=dict(_delete_=True, type="mmdet.ATSSAssigner", topk=9, alpha=0.8)))
