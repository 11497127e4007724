_base_ = "gfl.py"
ablation = dict(order=14, title="joint, boxes weighted by balanced scores, ATSS", against="gfl")
model = dict(bbox_head=dict(quality=dict(type="JointQuality", box_weight="balanced")))
