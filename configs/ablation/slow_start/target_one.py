_base_ = "gfl.py"
ablation = dict(order=3, title="target 1 instead of the IoU", against="gfl")
model = dict(bbox_head=dict(quality=dict(type="JointQuality", warmup=10**6)))
