_base_ = "../_base_/atss_qfl.py"
ablation = dict(order=3, title="β = 2.5", against="beta_2")
model = dict(bbox_head=dict(loss_cls=dict(beta=2.5)))
