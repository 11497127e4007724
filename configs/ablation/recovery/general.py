_base_ = "../_base_/gfl.py"
# Predicted sides are compared with the law of the annotated ones, which may lie outside the image: boxes that are
# clipped to the image would no longer have the mean of their distributions.
ablation = dict(order=0, title="general (GFL)", metrics=["AP", "AP50", "AP75"], analysis="recovery")
model = dict(bbox_head=dict(bbox_coder=dict(type="gfl_plugin.IntegralBBoxCoder", clip_border=False), reg_max=16))
