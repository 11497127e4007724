_base_ = "gfl.py"
ablation = dict(order=9, title="boxes start at 8 strides", against="gfl")
model = dict(bbox_head=dict(bbox_coder=dict(type="IntegralBBoxCoder", initial_distance=4.0)))
