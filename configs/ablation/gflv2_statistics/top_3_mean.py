_base_ = "../_base_/gflv2.py"
ablation = dict(order=7, title="top 3, mean", against="top_4_mean")
model = dict(bbox_head=dict(quality=dict(topk=3)))
