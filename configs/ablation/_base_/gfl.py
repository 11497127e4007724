# GFL as in the paper: the joint score trained with QFL, general distributions trained with DFL.
_base_ = "mmdet::gfl/gfl_r50_fpn_1x_coco.py"
custom_imports = dict(imports=["gfl_plugin"], allow_failed_imports=False)
model = dict(bbox_head=dict(type="gfl_plugin.GFLHead"))
