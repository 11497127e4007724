_base_ = "../_base_/gfl.py"
# Boxes are not clipped, see general.py.
ablation = dict(order=2, title="Dirac delta", against="general")
model = dict(
    bbox_head=dict(
        bbox_coder=dict(type="gfl_plugin.DiracBBoxCoder", clip_border=False),
        reg_max=None,
        loss_dfl="by_coder",
        # Sides start e^1.6 = 5 strides from their location, see gaussian.py.
        init_cfg=dict(
            type="Normal",
            layer="Conv2d",
            std=0.01,
            override=[
                dict(type="Normal", name="gfl_cls", std=0.01, bias_prob=0.01),
                dict(type="Normal", name="gfl_reg", std=0.01, bias=1.6),
            ],
        ),
    )
)
