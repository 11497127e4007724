_base_ = "../_base_/gfl.py"
ablation = dict(order=1, title="uniform, n = 40, to 40 strides", against="uniform_16")
model = dict(bbox_head=dict(reg_max=40))
