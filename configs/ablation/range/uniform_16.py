_base_ = "../_base_/gfl.py"
# The last bin is at 16 strides: 128 px on a level of stride 8, the single level of the scale demo_large.
ablation = dict(order=0, title="uniform, n = 16, to 16 strides", metrics=["AP", "AP50", "AP75", "AP80", "AP90"])
model = dict(bbox_head=dict(reg_max=16))
