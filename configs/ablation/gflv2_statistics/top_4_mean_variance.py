_base_ = "../_base_/gflv2.py"
ablation = dict(order=11, title="top 4, mean, variance", against="top_4_mean")
model = dict(bbox_head=dict(quality=dict(variance=True)))
