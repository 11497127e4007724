_base_ = "../_base_/atss_qfl.py"
ablation = dict(order=1, title="β = 1", against="beta_2")
model = dict(bbox_head=dict(loss_cls=dict(beta=1.0)))
