_base_ = "../_base_/gfl.py"
ablation = dict(order=1, title="n = 14", against="n_16")
model = dict(bbox_head=dict(reg_max=14))
