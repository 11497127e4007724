_base_ = "gfl.py"
ablation = dict(order=4, title="boxes weighted by IoU", against="gfl")
model = dict(bbox_head=dict(quality=dict(type="JointQuality", box_weight="iou")))
