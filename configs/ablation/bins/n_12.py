_base_ = "../_base_/gfl.py"
ablation = dict(order=0, title="n = 12", against="n_16")
model = dict(bbox_head=dict(reg_max=12))
