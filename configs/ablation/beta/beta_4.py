_base_ = "../_base_/atss_qfl.py"
ablation = dict(order=4, title="β = 4", against="beta_2")
model = dict(bbox_head=dict(loss_cls=dict(beta=4.0)))
