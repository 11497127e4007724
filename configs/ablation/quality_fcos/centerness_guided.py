_base_ = "../_base_/fcos.py"
ablation = dict(order=3, title="centerness-guided", against="centerness_branch")
model = dict(bbox_head=dict(quality=dict(type="GuidedQuality")))
