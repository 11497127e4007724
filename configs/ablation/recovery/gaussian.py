_base_ = "../_base_/gfl.py"
# Boxes are not clipped, see general.py.
ablation = dict(order=1, title="Gaussian", against="general")
model = dict(
    bbox_head=dict(
        bbox_coder=dict(type="gfl_plugin.GaussianBBoxCoder", clip_border=False),
        reg_max=None,
        loss_dfl="by_coder",
        # Sides start e^1.6 = 5 strides from their location, with a standard deviation of e^0.8 = 2.2 strides. Else they
        # start one stride away, and on a single level boxes that overlap no object sometimes end the training at once:
        # QFL then learns scores of 0, which are the weights of the box losses. Uniform bins start 8 strides away.
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
