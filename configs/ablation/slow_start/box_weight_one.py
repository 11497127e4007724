_base_ = "gfl.py"
ablation = dict(order=5, title="boxes weighted equally", against="gfl")
model = dict(bbox_head=dict(quality=dict(type="JointQuality", box_weight="one")))
