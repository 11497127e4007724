_base_ = "mmdet::foveabox/fovea_r50_fpn_4xb4-1x_coco.py"
ablation = dict(order=4, title="FoveaBox")
