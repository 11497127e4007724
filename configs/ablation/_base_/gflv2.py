# GFLV2 as in the paper: GFL, whose joint score is the class score times a quality predicted from the distributions.
_base_ = "gfl.py"
model = dict(bbox_head=dict(quality=dict(type="DistributionGuidedQuality")))
