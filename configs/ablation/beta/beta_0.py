_base_ = "../_base_/atss_qfl.py"
ablation = dict(order=0, title="β = 0", against="beta_2")
model = dict(bbox_head=dict(loss_cls=dict(beta=0.0)))
