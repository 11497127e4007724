_base_ = "mmdet::gfl/gfl_r101_fpn_ms-2x_coco.py"
custom_imports = dict(imports=["gfl_plugin"], allow_failed_imports=False)
model = dict(bbox_head=dict(type="gfl_plugin.GFLHead"))
