_base_ = "../_base_/atss_qfl.py"
ablation = dict(order=2, title="β = 2")
