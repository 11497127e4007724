_base_ = "gfl.py"
ablation = dict(order=1, title="β from 0 to 2", against="gfl")
model = dict(bbox_head=dict(loss_cls=dict(warmup=100, first_beta=0.0)))
