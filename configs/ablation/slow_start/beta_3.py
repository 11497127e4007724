_base_ = "gfl.py"
ablation = dict(order=8, title="β = 3", against="gfl")
model = dict(bbox_head=dict(loss_cls=dict(beta=3.0)))
