_base_ = "../_base_/gfl.py"
# Bins of half a stride, to the same last bin: 4 pixels on a level of stride 8. Boxes are not clipped, see general.py.
ablation = dict(order=3, title="general, bins of half a stride", against="general")
model = dict(
    bbox_head=dict(bbox_coder=dict(type="gfl_plugin.IntegralBBoxCoder", step=0.5, clip_border=False), reg_max=32)
)
