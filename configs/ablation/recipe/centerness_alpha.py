_base_ = "iou_branch_alpha.py"
ablation = dict(order=4, title="centerness branch, ATSS with alpha", against="gfl")
model = dict(bbox_head=dict(quality=dict(measure="centerness")))
