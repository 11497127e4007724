_base_ = "../_base_/gfl.py"
ablation = dict(order=1, title="Δ = 1, n = 16")
model = dict(bbox_head=dict(reg_max=16))
