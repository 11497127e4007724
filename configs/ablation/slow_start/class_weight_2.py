_base_ = "gfl.py"
ablation = dict(order=7, title="class loss × 2", against="gfl")
model = dict(bbox_head=dict(loss_cls=dict(loss_weight=2.0)))
