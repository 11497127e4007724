_base_ = "gfl.py"
ablation = dict(order=2, title="target from 1 to the IoU", against="gfl")
model = dict(bbox_head=dict(quality=dict(type="JointQuality", warmup=100)))
