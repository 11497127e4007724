_base_ = "../_base_/atss_qfl.py"
ablation = dict(order=5, title="joint (QFL)", against="centerness_branch")
