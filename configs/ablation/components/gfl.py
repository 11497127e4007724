_base_ = "../_base_/gfl.py"
ablation = dict(order=3, title="+ both: GFL", against="atss")
