_base_ = "../_base_/gflv2.py"
ablation = dict(order=3, title="top 1", against="top_4_mean")
model = dict(bbox_head=dict(quality=dict(topk=1, mean=False)))
