_base_ = "../_base_/atss_qfl.py"
ablation = dict(order=1, title="+ QFL", against="atss")
