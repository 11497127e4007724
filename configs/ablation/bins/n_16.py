_base_ = "../_base_/gfl.py"
ablation = dict(order=2, title="n = 16")
model = dict(bbox_head=dict(reg_max=16))
