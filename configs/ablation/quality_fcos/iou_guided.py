_base_ = "../_base_/fcos.py"
ablation = dict(order=4, title="IoU-guided", against="centerness_branch")
model = dict(bbox_head=dict(quality=dict(type="GuidedQuality", measure="iou")))
