_base_ = "mmdet::retinanet/retinanet_r50_fpn_1x_coco.py"
ablation = dict(order=3, title="RetinaNet", against="best")
