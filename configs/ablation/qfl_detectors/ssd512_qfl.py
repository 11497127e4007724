_base_ = "ssd512.py"
ablation = dict(order=7, title="SSD512 + QFL", against="ssd512")
model = dict(bbox_head=dict(type="gfl_plugin.SSDQFLHead"))
