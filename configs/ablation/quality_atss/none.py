_base_ = "../_base_/atss.py"
ablation = dict(order=0, title="none", against="centerness_branch")
model = dict(bbox_head=dict(quality=dict(_delete_=True, type="NoQuality")))
