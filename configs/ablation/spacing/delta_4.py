_base_ = "../_base_/gfl.py"
ablation = dict(order=3, title="Δ = 4, n = 4", against="delta_1")
model = dict(bbox_head=dict(reg_max=4, bbox_coder=dict(type="IntegralBBoxCoder", step=4.0)))
