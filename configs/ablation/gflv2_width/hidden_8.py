_base_ = "../_base_/gflv2.py"
ablation = dict(order=0, title="8 channels", against="hidden_64")
model = dict(bbox_head=dict(quality=dict(hidden=8)))
