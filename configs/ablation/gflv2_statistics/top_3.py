_base_ = "../_base_/gflv2.py"
ablation = dict(order=6, title="top 3", against="top_4_mean")
model = dict(bbox_head=dict(quality=dict(topk=3, mean=False)))
