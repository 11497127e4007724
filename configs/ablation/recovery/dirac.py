_base_ = "../_base_/gfl.py"
# Boxes are not clipped, see general.py.
ablation = dict(order=2, title="Dirac delta", against="general")
model = dict(
    bbox_head=dict(
        bbox_coder=dict(type="gfl_plugin.DiracBBoxCoder", clip_border=False), reg_max=None, loss_dfl="by_coder"
    )
)
