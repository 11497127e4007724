_base_ = "../_base_/gflv2.py"
ablation = dict(order=1, title="GFLV2", against="gfl")
