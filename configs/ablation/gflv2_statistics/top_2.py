_base_ = "../_base_/gflv2.py"
ablation = dict(order=4, title="top 2", against="top_4_mean")
model = dict(bbox_head=dict(quality=dict(topk=2, mean=False)))
