_base_ = "../_base_/gfl.py"
ablation = dict(order=1, title="bf16", against="fp32")
optim_wrapper = dict(type="AmpOptimWrapper", dtype="bfloat16")
