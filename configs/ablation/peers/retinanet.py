_base_ = "mmdet::retinanet/retinanet_r50_fpn_1x_coco.py"
ablation = dict(order=2, title="RetinaNet", against="ours")
