_base_ = "mmdet::paa/paa_r50_fpn_1x_coco.py"
ablation = dict(order=6, title="PAA", against="best")
