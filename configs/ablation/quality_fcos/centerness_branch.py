_base_ = "../_base_/fcos.py"
ablation = dict(order=1, title="centerness branch")
