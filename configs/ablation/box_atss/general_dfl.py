_base_ = "../_base_/atss.py"
ablation = dict(order=3, title="general + DFL", against="dirac")
model = dict(bbox_head=dict(bbox_coder=dict(type="IntegralBBoxCoder"), reg_max=16, loss_dfl="by_coder"))
