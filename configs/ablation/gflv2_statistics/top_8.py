_base_ = "../_base_/gflv2.py"
ablation = dict(order=12, title="top 8", against="top_4_mean")
model = dict(bbox_head=dict(quality=dict(topk=8, mean=False)))
