_base_ = "iou_branch.py"
ablation = dict(order=3, title="centerness branch, ATSS", against="gfl")
model = dict(bbox_head=dict(quality=dict(measure="centerness")))
