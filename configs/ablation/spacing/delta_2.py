_base_ = "../_base_/gfl.py"
ablation = dict(order=2, title="Δ = 2, n = 8", against="delta_1")
model = dict(bbox_head=dict(reg_max=8, bbox_coder=dict(type="IntegralBBoxCoder", step=2.0)))
