_base_ = "../_base_/gfl.py"
# Boxes are not clipped, see general.py.
ablation = dict(order=1, title="Gaussian", against="general")
model = dict(
    bbox_head=dict(
        bbox_coder=dict(type="gfl_plugin.GaussianBBoxCoder", clip_border=False), reg_max=None, loss_dfl="by_coder"
    )
)
