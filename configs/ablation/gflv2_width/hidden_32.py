_base_ = "../_base_/gflv2.py"
ablation = dict(order=2, title="32 channels", against="hidden_64")
model = dict(bbox_head=dict(quality=dict(hidden=32)))
