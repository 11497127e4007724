_base_ = "gfl.py"
ablation = dict(order=14, title="joint, balanced weights, ATSS", against="gfl")
model = dict(bbox_head=dict(quality=dict(type="JointQuality", box_weight="balanced")))
