_base_ = "../_base_/gfl.py"
# As many bins as uniform_16, to the last bin of uniform_40: 0, 1, then steps that grow by a constant factor.
ablation = dict(order=2, title="geometric, n = 16, to 40 strides", against="uniform_16")
model = dict(
    bbox_head=dict(
        bbox_coder=dict(
            type="gfl_plugin.IntegralBBoxCoder", reg_max=16, bins=dict(spacing="geometric", last=40, first_step=1)
        )
    )
)
