_base_ = "gfl_r18_demo.py"
model = dict(bbox_head=dict(quality=dict(type="DistributionGuidedQuality")))
