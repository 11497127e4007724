_base_ = "../_base_/gflv2.py"
ablation = dict(order=3, title="64 channels", metrics=("AP", "AP50", "AP75", "ρ", "ρ all"))
