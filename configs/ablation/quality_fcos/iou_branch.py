_base_ = "../_base_/fcos.py"
ablation = dict(order=2, title="IoU branch", against="centerness_branch")
model = dict(bbox_head=dict(quality=dict(measure="iou")))
