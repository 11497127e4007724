_base_ = "../_base_/gflv2.py"
ablation = dict(order=9, title="top 4, mean", metrics=("AP", "AP50", "AP75", "ρ", "ρ all"))
