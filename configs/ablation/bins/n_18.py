_base_ = "../_base_/gfl.py"
ablation = dict(order=3, title="n = 18", against="n_16")
model = dict(bbox_head=dict(reg_max=18))
