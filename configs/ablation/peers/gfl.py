_base_ = "mmdet::gfl/gfl_r50_fpn_1x_coco.py"
ablation = dict(order=2, title="GFL", against="best")
