_base_ = "../_base_/gflv2.py"
ablation = dict(order=7, title="GFLV2, ATSS", against="gfl")
