_base_ = "mmdet::vfnet/vfnet_r50_fpn_1x_coco.py"
ablation = dict(order=7, title="VFNet", against="best")
