_base_ = "../_base_/gfl.py"
ablation = dict(order=0, title="Δ = 0.5, n = 32", against="delta_1")
model = dict(bbox_head=dict(reg_max=32, bbox_coder=dict(type="IntegralBBoxCoder", step=0.5)))
