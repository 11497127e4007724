_base_ = "../_base_/gfl.py"
ablation = dict(order=0, title="no quality: GFL", against="top_4_mean")
