_base_ = "../_base_/atss.py"
ablation = dict(order=1, title="centerness branch")
