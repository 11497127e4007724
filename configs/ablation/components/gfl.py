_base_ = "../_base_/gfl.py"
ablation = dict(order=3, title="+ both: GFL", against="atss")
model = dict(bbox_head=dict(reg_max=16))
