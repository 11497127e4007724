_base_ = "../_base_/gfl.py"
ablation = dict(order=0, title="fp32")
