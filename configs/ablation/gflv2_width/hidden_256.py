_base_ = "../_base_/gflv2.py"
ablation = dict(order=5, title="256 channels", against="hidden_64")
model = dict(bbox_head=dict(quality=dict(hidden=256)))
