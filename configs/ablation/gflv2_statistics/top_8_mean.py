_base_ = "../_base_/gflv2.py"
ablation = dict(order=13, title="top 8, mean", against="top_4_mean")
model = dict(bbox_head=dict(quality=dict(topk=8)))
