_base_ = "../_base_/atss.py"
ablation = dict(order=2, title="+ DFL", against="atss")
model = dict(bbox_head=dict(bbox_coder=dict(type="IntegralBBoxCoder"), reg_max=16, loss_dfl="by_coder"))
