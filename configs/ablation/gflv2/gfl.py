_base_ = "../_base_/gfl.py"
ablation = dict(order=0, title="GFL", metrics=("AP", "AP50", "AP75", "ρ", "ρ all"))
