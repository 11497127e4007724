_base_ = "gfl.py"
ablation = dict(order=3, title="boxes weighted by IoU", against="gfl")
model = dict(bbox_head=dict(quality=dict(type="JointQuality", box_weight="iou")))
