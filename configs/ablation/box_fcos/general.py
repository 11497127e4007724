_base_ = "../_base_/fcos.py"
ablation = dict(order=2, title="general, no DFL", against="dirac")
model = dict(bbox_head=dict(bbox_coder=dict(type="IntegralBBoxCoder"), reg_max=16))
