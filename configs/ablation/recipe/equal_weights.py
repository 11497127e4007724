_base_ = "gfl.py"
ablation = dict(order=11, title="joint, equal weights, ATSS", against="gfl")
model = dict(bbox_head=dict(quality=dict(type="JointQuality", box_weight="one")))
