_base_ = "../_base_/gflv2.py"
ablation = dict(order=8, title="top 4", against="top_4_mean")
model = dict(bbox_head=dict(quality=dict(mean=False)))
