_base_ = "mmdet::paa/paa_r50_fpn_1x_coco.py"
ablation = dict(order=5, title="PAA", against="ours")
