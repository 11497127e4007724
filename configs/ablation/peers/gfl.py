_base_ = "mmdet::gfl/gfl_r50_fpn_1x_coco.py"
ablation = dict(order=1, title="GFL", against="ours")
