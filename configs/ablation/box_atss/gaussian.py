_base_ = "../_base_/atss.py"
ablation = dict(order=1, title="Gaussian", against="dirac")
model = dict(bbox_head=dict(bbox_coder=dict(type="GaussianBBoxCoder"), loss_dfl="by_coder"))
