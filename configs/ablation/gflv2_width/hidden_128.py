_base_ = "../_base_/gflv2.py"
ablation = dict(order=4, title="128 channels", against="hidden_64")
model = dict(bbox_head=dict(quality=dict(hidden=128)))
