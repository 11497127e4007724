_base_ = "../_base_/gflv2.py"
ablation = dict(order=1, title="mean of top 4", against="top_4_mean")
model = dict(bbox_head=dict(quality=dict(values=False)))
