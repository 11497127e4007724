_base_ = "box_weight_one.py"
ablation = dict(order=10, title="boxes weighted equally, start at 8 strides", against="gfl")
model = dict(bbox_head=dict(bbox_coder=dict(type="IntegralBBoxCoder", initial_distance=4.0)))
