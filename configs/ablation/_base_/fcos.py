# Like atss.py, with FCOS's assignment: locations at the centers of their cells, less than 1.5 strides from the object's
# center, and one range of scales per level.
_base_ = "atss.py"
model = dict(
    bbox_head=dict(anchor_generator=dict(center_offset=0.5)),
    train_cfg=dict(assigner=dict(_delete_=True, type="gfl_plugin.FCOSAssigner", center_sample_radius=1.5)),
)
