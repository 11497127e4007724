_base_ = "equal_weights.py"
ablation = dict(order=12, title="joint, equal weights, start at 8 strides, ATSS", against="gfl")
model = dict(bbox_head=dict(bbox_coder=dict(type="IntegralBBoxCoder", initial_distance=4.0)))
