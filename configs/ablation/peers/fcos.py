_base_ = "mmdet::fcos/fcos_r50-caffe_fpn_gn-head_1x_coco.py"
ablation = dict(order=4, title="FCOS", against="best")
